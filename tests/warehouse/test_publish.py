from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pyarrow as pa
import pytest

import warehouse
from warehouse import files
from warehouse.errors import WarehouseError
from warehouse.maps import MapStore
from warehouse.parts import DerivedStore, PartStore
from warehouse.publish import publish
from warehouse.schema import DERIVED_SCHEMAS

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Sample

    from warehouse.folder import Folder
    from warehouse.stored_map import StoredMap


def leftovers(folder: Folder) -> list[str]:
    return [path.name for path in folder.root.rglob("*") if path.name.startswith(files.TEMPORARY)]


def test_an_empty_warehouse_has_empty_relations(empty: Folder) -> None:
    assert publish(empty).changed
    with warehouse.open(empty.root) as w:
        assert w.summary() == warehouse.store.Summary(0, 0, 0, 0, generation=1)
        tables = w.sql("SELECT table_name FROM information_schema.tables WHERE table_schema = 'main'").fetchall()
        for (table,) in tables:
            assert len(w.sql(f"FROM {table}").fetchall()) == (table == "dataset")


def test_nothing_new_publishes_nothing(own: Folder) -> None:
    number = own.current_generation()
    again = publish(own.root)
    assert (again.number, again.changed) == (number, False)
    assert publish(own.published).number == number
    forced = publish(own, force=True)
    assert (forced.number, forced.changed) == (number + 1, True)
    assert leftovers(own) == []


def test_a_model_appears_when_it_is_complete(empty: Folder, sample: Sample) -> None:
    sample.write_facts(empty)
    publish(empty)
    with warehouse.open(empty.root) as w:
        assert w.summary().images == len(sample.seen)
        for shard in range(sample.shards):
            sample.write_shard(empty, "demo:net0", shard)
        assert not publish(empty).changed
        sample.write_card(empty, "demo:net0")
        assert publish(empty).changed
        assert w.summary().models == 0
        assert w.refresh()
        assert w.summary().models == 1
        assert not w.refresh()
        layout = w.class_layout("demo:net0")
        assert len(layout["x"]) == 0
        sample.write_layouts(empty, "demo:net0")
        assert publish(empty).changed
        w.refresh()
        assert len(w.class_layout("demo:net0")["x"]) == sample.classes


def test_only_finished_units_count(empty: Folder, sample: Sample) -> None:
    """Confidences without predictions belong to a unit that was killed half way."""
    sample.write_facts(empty)
    for shard in range(2):
        sample.write_shard(empty, "demo:net2", shard)
    sample.write_shard(empty, "demo:net2", 2)
    Path(PartStore(empty).where("predictions", sample.key("demo:net2"), "shard-00002")).unlink()
    sample.write_card(empty, "demo:net2")
    publish(empty)
    seen = sum(len(set(sample.shard_ids(shard)) & set(sample.seen)) for shard in range(2))
    with warehouse.open(empty.root) as w:
        assert w.models()["images"].tolist() == [seen]
        assert w.sql("SELECT sum(images) FROM class_confidences").fetchall() == [(seen,)]


def test_a_replaced_result_is_published(own: Folder, sample: Sample) -> None:
    key = sample.key("demo:net1")
    layout = {"class_id": [0, 1], "x": [7.0, 8.0], "y": [9.0, 10.0]}
    table = pa.table(layout, schema=DERIVED_SCHEMAS["class_layouts"])
    DerivedStore(own).write("class_layouts", key, table, "others")
    assert publish(own).changed
    with warehouse.open(own.root) as w:
        assert w.class_layout("demo:net1")["x"].tolist() == [7.0, 8.0]


def test_results_of_unpublished_models_are_no_news(own: Folder) -> None:
    layout = pa.table({"class_id": [0], "x": [7.0], "y": [9.0]}, schema=DERIVED_SCHEMAS["class_layouts"])
    DerivedStore(own).write("class_layouts", "not-complete-yet", layout, "")
    assert not publish(own).changed


def test_the_newest_card_stands_for_a_name(own: Folder, sample: Sample) -> None:
    newer = sample.card("demo:net0")["created_at"][0].as_py().replace(year=2027)
    sample.write_card(own, "demo:net0", key="other", precision="bfloat16", created_at=newer)
    publish(own)
    with warehouse.open(own.root) as w:
        assert w.models()["model"].tolist() == sample.models
        row = w.model_row("demo:net0")
        assert (row.key, row.precision, row.images, row.top1) == ("other", "bfloat16", 0, None)


def test_labels_tell_models_apart(own: Folder, sample: Sample) -> None:
    sample.write_card(own, "demo:net0", key="other", model="timm:net0", label="net0")
    publish(own)
    with warehouse.open(own.root) as w:
        labels = w.models()["label"].tolist()
        assert labels == ["demo:net0", "net1", "net2", "timm:net0"]


def test_only_the_last_two_generations_are_kept(own: Folder) -> None:
    first = own.current_generation()
    assert first is not None
    stray = own.generations / f"{first:06d}-sql.duckdb.wal"
    stray.write_bytes(b"somebody's")
    for _ in range(2):
        publish(own, force=True)
    kept = sorted(path.name for path in own.generations.glob("0*"))
    expected = [f"{n:06d}{suffix}.duckdb" for n in (first + 1, first + 2) for suffix in ("-sql", "")]
    assert kept == expected
    assert own.current.readlink().name == f"{first + 2:06d}.duckdb"
    assert str(own.published.readlink()) == f".gen/{first + 2:06d}-sql.duckdb"


@pytest.mark.parametrize("lost", ["published", "copy", "current"])
def test_an_interrupted_publish_is_completed_by_the_next(own: Folder, lost: str) -> None:
    number = own.current_generation()
    assert number is not None
    {"published": own.published, "copy": own.generation_copy(number), "current": own.current}[lost].unlink()
    (own.generations / f"{files.TEMPORARY}1-x-{number + 1:06d}.duckdb").write_bytes(b"half")
    result = publish(own)
    assert result.changed == (lost == "current")
    assert leftovers(own) == []
    with duckdb.connect(str(own.published), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM models").fetchone() == (3,)
    with warehouse.open(own.root) as w:
        assert w.generation == result.number


def test_numbers_are_never_used_twice(own: Folder) -> None:
    """A write-ahead log that somebody left beside a removed file must not meet a new file of that name."""
    number = own.current_generation()
    assert number is not None
    (own.generations / f"{number + 3:06d}-sql.duckdb.wal").write_bytes(b"somebody's")
    assert publish(own, force=True).number == number + 4


def test_a_damaged_part_stops_the_publish_and_is_named(own: Folder, sample: Sample) -> None:
    before = own.current_generation()
    Path(PartStore(own).where("predictions", sample.key("demo:net1"), "shard-00001")).write_bytes(b"PAR1")
    with pytest.raises(WarehouseError, match=r"shard-00001\.parquet is damaged"):
        publish(own, force=True)
    assert own.current_generation() == before
    assert leftovers(own) == []
    with warehouse.open(own.root) as w:
        assert w.summary().models == 3


def test_confidences_of_another_class_table_are_refused(empty: Folder, make_sample: type[Sample]) -> None:
    make_sample(classes=4).write_facts(empty)
    other = make_sample(classes=3)
    other.write_shard(empty, "demo:net0", 0)
    other.write_card(empty, "demo:net0")
    with pytest.raises(WarehouseError, match="class table of 4 classes"):
        publish(empty)


def test_a_full_disk_gives_one_sentence(own: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    before = own.current_generation()
    with monkeypatch.context() as patch:
        patch.setattr(files, "copy", fail)
        with pytest.raises(WarehouseError, match="No space left"):
            publish(own, force=True)
    assert own.current_generation() == before
    assert leftovers(own) == []
    assert publish(own, force=True).changed


def test_publishing_needs_a_warehouse(tmp_path: Path) -> None:
    with pytest.raises(WarehouseError, match="is not a warehouse"):
        publish(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_same_files_give_the_same_rows(own: Folder, sample: Sample, empty: Folder) -> None:
    """Models written in another order, by another process, make no difference to anything published."""
    sample.write_facts(empty)
    for model in reversed(sample.models):
        sample.write_model(empty, model)
    publish(empty)
    with warehouse.open(own.root) as one, warehouse.open(empty.root) as other:
        for relation in ("models", "predictions", "class_accuracy", "class_confidences", "class_spread", "runs"):
            assert one.sql(f"FROM {relation}").fetchall() == other.sql(f"FROM {relation}").fetchall()


# Explanations ----------------------------------------------------------------------------------------------


def test_explanations_appear_and_nothing_else_is_rebuilt(
    own: Folder, sample: Sample, make_map: Callable[..., StoredMap], monkeypatch: pytest.MonkeyPatch
) -> None:
    with MapStore(own.explanations) as store:
        first = make_map(measures={"roi_area": 0.25, "entropy": 3.5, "total_variation": float("nan")})
        store.put(first)
        store.put(
            make_map(image_id=2, measures={"roi_area": 0.5, "deletion_auc": 0.125}, flags=["constant map", "small"])
        )
        store.describe_measure("deletion_auc", "fraction", "Area under Petsiuk's deletion curve.")
        monkeypatch.setattr(PartStore, "read_many", lambda *_: pytest.fail("parts were read again"))
        assert publish(own).changed
        assert not publish(own).changed
        with warehouse.open(own.root) as w:
            rows = w.sql(
                "SELECT model, image_id, method, target_class_id, parameters, created_at, roi_area, entropy,"
                " total_variation, deletion_auc, flags, digest FROM explanations ORDER BY image_id"
            ).fetchall()
            assert rows[0] == (
                first.model,
                1,
                "grad-cam",
                4,
                "{}",
                first.created_at,
                0.25,
                3.5,
                None,
                None,
                None,
                first.digest,
            )
            assert rows[1][6:11] == (0.5, None, None, 0.125, "constant map; small")
            comments = dict(
                w.sql("SELECT column_name, comment FROM duckdb_columns() WHERE table_name = 'explanations'").fetchall()
            )
            assert comments["deletion_auc"] == "Area under Petsiuk's deletion curve. Unit: fraction."
            assert all(comments.values())
            assert w.summary().models == 3
            store.put(make_map(image_id=3))
            assert publish(own).changed
            assert w.refresh()
            assert w.sql("SELECT count(*) FROM explanations").fetchall() == [(3,)]
    # A generation made from the one before is still in the format of DuckDB 1.0.
    assert int.from_bytes(own.published.read_bytes()[12:20], "little") == 64
    with duckdb.connect(str(own.published), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM explanations").fetchone() == (3,)


def test_explanations_survive_a_rebuild(own: Folder, make_map: Callable[..., StoredMap], sample: Sample) -> None:
    with MapStore(own.explanations) as store:
        store.put(make_map())
    publish(own)
    publish(own, force=True)
    with warehouse.open(own.root) as w:
        assert w.sql("SELECT count(*) FROM explanations").fetchall() == [(1,)]


def test_a_damaged_map_store_does_not_stop_a_publish(own: Folder) -> None:
    own.explanations.write_bytes(b"not a database" * 1000)
    with pytest.warns(RuntimeWarning, match="set aside"):
        publish(own)
    assert not publish(own).changed


def test_a_map_store_damaged_in_the_middle_gives_one_sentence(own: Folder, make_map: Callable[..., StoredMap]) -> None:
    with MapStore(own.explanations) as store:
        for i in range(100):
            store.put(make_map(image_id=i))
    with sqlite3.connect(own.explanations) as connection:
        page = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'explanation'").fetchone()[0]
    connection.close()
    with own.explanations.open("r+b") as file:
        file.seek(4096 * (page - 1))
        file.write(b"\xff" * 4096)
    before = own.current_generation()
    with pytest.raises(WarehouseError, match=r"The map store .* failed: .*malformed"):
        publish(own)
    assert own.current_generation() == before


def test_what_left_the_map_store_leaves_the_relation(own: Folder, make_map: Callable[..., StoredMap]) -> None:
    with MapStore(own.explanations, 1 << 20) as store:
        store.put(make_map(image_id=1))
        publish(own)
        giant = np.random.default_rng(0).random((600, 600), dtype=np.float32)
        store.put(make_map(image_id=2, map=giant))
        assert publish(own).changed
    with warehouse.open(own.root) as w:
        assert w.sql("SELECT image_id FROM explanations").fetchall() == [(2,)]


def test_a_read_only_folder_gives_one_sentence(own: Folder) -> None:
    if os.geteuid() == 0:
        own.lock.unlink()
        own.lock.mkdir()  # root may write everywhere, but not to a directory
    else:
        own.generations.chmod(0o500)
    with pytest.raises(WarehouseError, match="Cannot publish in"):
        publish(own)
    if os.geteuid() != 0:
        own.generations.chmod(0o700)
