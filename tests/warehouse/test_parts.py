from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from warehouse import files
from warehouse.errors import WarehouseError
from warehouse.parts import DerivedStore, PartStore
from warehouse.schema import DERIVED_SCHEMAS, PART_SCHEMAS

if TYPE_CHECKING:
    from warehouse.folder import Folder


@pytest.fixture
def parts(empty: Folder) -> PartStore:
    return PartStore(empty)


def features(value: float, rows: int = 3) -> pa.Table:
    vectors = [np.full(4, value, dtype=np.float16)] * rows
    return pa.table({"image_id": np.arange(rows), "vector": vectors}, schema=PART_SCHEMAS["features"])


def layout(value: float) -> pa.Table:
    values = {"class_id": [0, 1], "x": [value, 0.0], "y": [0.0, value]}
    return pa.table(values, schema=DERIVED_SCHEMAS["class_layouts"])


def test_an_existing_part_wins(parts: PartStore) -> None:
    assert not parts.exists("features", "net", "shard-00000")
    assert parts.write("features", "net", "shard-00000", features(1.0))
    assert not parts.write("features", "net", "shard-00000", features(2.0))
    assert parts.exists("features", "net", "shard-00000")
    table = parts.read("features", "net", "shard-00000")
    assert table.equals(features(1.0))
    assert table.schema.equals(PART_SCHEMAS["features"])


def test_an_existing_file_wins_a_race(tmp_path: Path) -> None:
    (tmp_path / "done").write_text("first")
    (tmp_path / "temporary").write_text("second")
    assert not files.create(tmp_path / "temporary", tmp_path / "done")
    assert (tmp_path / "done").read_text() == "first"


def test_one_of_many_writers_wins(parts: PartStore) -> None:
    def write(value: int) -> bool:
        return parts.write("features", "net", "shard-00000", features(value))

    with ThreadPoolExecutor(8) as pool:
        written = list(pool.map(write, range(8)))
    assert sum(written) == 1
    assert parts.read("features", "net", "shard-00000").equals(features(written.index(True)))


def test_a_failed_write_leaves_nothing(empty: Folder, parts: PartStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "sync_file", fail)
    with pytest.raises(WarehouseError, match=r"shard-00000\.parquet: No space left on device\."):
        parts.write("features", "net", "shard-00000", features(1.0))
    assert [path for path in empty.parts.rglob("*") if path.is_file()] == []
    assert parts.names("features", "net") == []


def test_file_systems_without_hard_links(parts: PartStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    assert parts.write("features", "net", "shard-00000", features(1.0))
    assert not parts.write("features", "net", "shard-00000", features(2.0))
    assert parts.read("features", "net", "shard-00000").equals(features(1.0))


def test_sweep_removes_only_what_dead_writers_of_this_machine_left(empty: Folder, parts: PartStore) -> None:
    parts.write("features", "net", "shard-00000", features(1.0))
    directory = Path(parts.where("features", "net", "shard-00000")).parent
    alive = files.temporary_name(directory / "x.parquet")
    dead = alive.with_name(alive.name.replace(f"{files.TEMPORARY}{os.getpid()}@", f"{files.TEMPORARY}999999999@"))
    elsewhere = directory / f"{files.TEMPORARY}999999999@0therhost-aa-x.parquet"
    derived = empty.derived / f"{files.TEMPORARY}nonsense"
    progress = empty.root / f"{files.TEMPORARY}999999999-aa-progress.json"
    for path in (dead, alive, elsewhere, derived, progress):
        path.write_bytes(b"half")
    assert parts.names("features", "net") == ["shard-00000"]
    assert parts.sweep() == 1
    assert DerivedStore(empty).sweep() == 2
    assert alive.exists()
    assert elsewhere.exists()
    assert not dead.exists()
    assert not derived.exists()
    assert not progress.exists()


def test_names_and_scopes(parts: PartStore) -> None:
    assert parts.scopes("features") == []
    assert parts.names("features", "net") == []
    for scope, name in (("b", "shard-00001"), ("b", "shard-00000"), ("a", "shard-00002")):
        parts.write("features", scope, name, features(1.0))
    assert parts.scopes("features") == ["a", "b"]
    assert parts.names("features", "b") == ["shard-00000", "shard-00001"]
    assert parts.read_many("features", "b", []).num_rows == 0
    assert parts.read_many("features", "b", ["shard-00001", "shard-00000"]).num_rows == 6


@pytest.mark.parametrize("kind", PART_SCHEMAS)
def test_every_kind_of_part_round_trips_empty(parts: PartStore, kind: str) -> None:
    table = PART_SCHEMAS[kind].empty_table()
    parts.write(kind, "_", "x", table)
    assert parts.read(kind, "_", "x").schema.equals(table.schema)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns(["vector"]), r"missing \['vector'\]"),
        (lambda t: t.append_column("extra", pa.array([1, 2, 3])), r"unknown \['extra'\]"),
        (lambda t: t.append_column("image_id", pa.array([1, 2, 3])), "the columns must be"),
        (
            lambda t: t.set_column(0, "image_id", pa.array([1, 2, 3], pa.int64())),
            "'image_id' must be int32, it is int64",
        ),
        (lambda t: t.set_column(0, "image_id", pa.array([1, None, 3], pa.int32())), "'image_id' lacks 1 of 3 values"),
    ],
)
def test_a_part_must_have_the_columns_of_its_kind(parts: PartStore, change: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parts.write("features", "net", "shard-00000", change(features(1.0)))  # type: ignore[operator]
    assert not parts.exists("features", "net", "shard-00000")


def test_the_order_of_columns_does_not_matter(parts: PartStore) -> None:
    parts.write("features", "net", "x", features(1.0).select(["vector", "image_id"]))
    assert parts.read("features", "net", "x").equals(features(1.0))


@pytest.mark.parametrize("ids", [[1, 2], [0, 2], [1, 0], [0, 0]])
def test_class_ids_count_from_zero(parts: PartStore, ids: list[int]) -> None:
    table = {"class_id": ids, "wnid": [None, None], "class_name": ["a", "b"], "root_class": ["all", "all"]}
    with pytest.raises(ValueError, match="0, 1, 2"):
        parts.write("classes", "_", "table", pa.table(table, schema=PART_SCHEMAS["classes"]))


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/etc/passwd", ".tmp-1-x", "a\0b", "é", "a b"])
def test_no_name_leads_out_of_the_folder(empty: Folder, parts: PartStore, name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a part"):
        parts.where("features", name, "x")
    with pytest.raises(ValueError, match="cannot name a part"):
        parts.where("features", "x", name)
    with pytest.raises(ValueError, match="cannot name a part"):
        DerivedStore(empty).path("runs", name)


def test_unknown_kinds(empty: Folder, parts: PartStore) -> None:
    with pytest.raises(ValueError, match="no kind 'nonsense'"):
        parts.names("nonsense", "_")
    with pytest.raises(ValueError, match="no kind 'features'"):
        DerivedStore(empty).names("features")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet at all" * 10])
def test_damaged_parts_are_named(parts: PartStore, content: bytes) -> None:
    parts.write("features", "net", "x", features(1.0))
    Path(parts.where("features", "net", "x")).write_bytes(content)
    with pytest.raises(WarehouseError, match=r"x\.parquet is damaged"):
        parts.read("features", "net", "x")
    with pytest.raises(WarehouseError, match=r"lacks .*y\.parquet"):
        parts.read("features", "net", "y")


def test_derived_results_are_replaced_and_know_their_inputs(empty: Folder) -> None:
    derived = DerivedStore(empty)
    assert derived.names("class_layouts") == []
    assert not derived.fresh("class_layouts", "net", "a")
    derived.write("class_layouts", "net", layout(1.0), "a")
    assert derived.fresh("class_layouts", "net", "a")
    assert not derived.fresh("class_layouts", "net", "b")
    derived.write("class_layouts", "net", layout(2.0), "b")
    assert derived.fresh("class_layouts", "net", "b")
    assert derived.read("class_layouts", "net").equals(layout(2.0))
    assert derived.names("class_layouts") == ["net"]


def test_a_damaged_result_is_not_fresh(empty: Folder) -> None:
    derived = DerivedStore(empty)
    derived.write("class_layouts", "net", layout(1.0), "a")
    derived.path("class_layouts", "net").write_bytes(b"PAR1")
    assert derived.inputs("class_layouts", "net") is None
    assert not derived.fresh("class_layouts", "net", "a")
    with pytest.raises(WarehouseError, match="damaged"):
        derived.read("class_layouts", "net")
