from __future__ import annotations

import dataclasses
import json
import math
import os
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import numpy as np
import pytest

from warehouse.errors import WarehouseError
from warehouse.maps import MapStore, Measure, StoredMap, digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MapStore]:
    with MapStore(tmp_path / "explanations.sqlite") as opened:
        yield opened


def test_what_is_put_is_got(store: MapStore, make_map: Callable[..., StoredMap]) -> None:
    stored = make_map(measures={"roi_area": np.float32(0.25), "entropy": float("nan")}, flags=["constant map", "é"])
    assert store.get(stored.digest) is None
    assert store.put(stored)
    found = store.get(stored.digest)
    assert found is not None
    assert found.map.dtype == np.float32
    assert np.array_equal(found.map, stored.map)
    assert found.measures["roi_area"] == 0.25
    assert math.isnan(found.measures["entropy"])
    for field in ("model", "image_id", "parameters", "flags", "created_at", "seconds", "confidence", "height"):
        assert getattr(found, field) == getattr(stored, field)
    assert len(store) == 1


def test_the_first_map_of_a_key_stays(store: MapStore, make_map: Callable[..., StoredMap]) -> None:
    first = make_map(digest="a" * 64, image_id=1)
    assert store.put(first)
    assert not store.put(make_map(digest="a" * 64, image_id=2))
    found = store.get("a" * 64)
    assert found is not None
    assert found.image_id == 1
    assert len(store) == 1


def test_the_file_outlives_the_store(tmp_path: Path, make_map: Callable[..., StoredMap]) -> None:
    stored = make_map()
    with MapStore(tmp_path / "m.sqlite") as store:
        store.put(stored)
    with pytest.raises(WarehouseError, match="closed"):
        store.get(stored.digest)
    with MapStore(tmp_path / "m.sqlite") as store:
        assert store.get(stored.digest) is not None


def test_the_numbers_come_by_column_in_chunks(store: MapStore, make_map: Callable[..., StoredMap]) -> None:
    maps = [make_map(image_id=i, measures={"area": i / 8}, flags=["é"] * (i % 2)) for i in range(5)]
    for stored in maps:
        store.put(stored)
    chunks = []
    for chunk in store.columns(2):
        store.put(make_map(image_id=99))  # is not seen
        chunks.append(chunk)
    assert [chunk["image_id"] for chunk in chunks] == [(0, 1), (2, 3), (4,)]
    assert chunks[0]["digest"] == (maps[0].digest, maps[1].digest)
    assert [json.loads(text) for text in chunks[1]["measures"]] == [{"area": 0.25}, {"area": 0.375}]
    assert [json.loads(text) for text in chunks[1]["flags"]] == [[], ["é"]]
    assert {len(column) for column in chunks[2].values()} == {1}
    assert set(chunks[0]) == {field.name for field in dataclasses.fields(StoredMap)} - {"map"}


def test_times_are_kept_in_utc(store: MapStore, make_map: Callable[..., StoredMap]) -> None:
    paris = timezone(timedelta(hours=1))
    stored = make_map(created_at=datetime(2026, 1, 1, 1, 0, tzinfo=paris))
    store.put(stored)
    found = store.get(stored.digest)
    assert found is not None
    assert found.created_at == datetime(2026, 1, 1, 0, 0, tzinfo=UTC).replace(tzinfo=None)


@pytest.mark.parametrize(
    "changes",
    [
        {"map": np.zeros((2, 3))},
        {"map": np.zeros((2, 3), np.float32), "height": 3},
        {"measures": {"Robert'); DROP TABLE": 1.0}},
        {"measures": {"model": 1.0}},
        {"measures": {"": 1.0}},
    ],
)
def test_bad_maps_are_refused(store: MapStore, make_map: Callable[..., StoredMap], changes: dict) -> None:
    with pytest.raises(ValueError, match=r"must be float32|cannot name a measure"):
        store.put(make_map(**changes))
    assert len(store) == 0


def test_measures_are_described(store: MapStore) -> None:
    store.describe_measure("entropy", "bit", "Old words.")
    store.describe_measure("entropy", "bit", "New words.")
    store.describe_measure("area", "", "Words.")
    assert store.measures() == [Measure("area", "", "Words."), Measure("entropy", "bit", "New words.")]
    with pytest.raises(ValueError, match="cannot name a measure"):
        store.describe_measure("two words", "", "")


def test_measures_of_maps_are_found(store: MapStore, make_map: Callable[..., StoredMap]) -> None:
    store.describe_measure("entropy", "bit", "Words.")
    store.put(make_map(image_id=1, measures={"deletion": 1.0}))
    store.put(make_map(image_id=2, measures={"deletion": 2.0, "area": float("nan")}))
    assert store.measures() == [
        Measure("area", "", ""),
        Measure("deletion", "", ""),
        Measure("entropy", "bit", "Words."),
    ]


def test_a_failed_put_leaves_nothing(store: MapStore, make_map: Callable[..., StoredMap]) -> None:
    broken = make_map(model=None)
    with pytest.raises(WarehouseError, match="NOT NULL"):
        store.put(broken)
    assert len(store) == 0
    assert store.put(make_map())


def test_many_processes_make_one_file(tmp_path: Path) -> None:
    script = "import sys; from warehouse.maps import MapStore; print(len(MapStore(sys.argv[1])))"
    processes = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "m.sqlite")], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [process.communicate()[0] for process in processes] == ["0\n"] * 3


def test_fingerprint_follows_content(store: MapStore, make_map: Callable[..., StoredMap]) -> None:
    seen = {store.fingerprint()}
    store.put(make_map())
    seen.add(store.fingerprint())
    store.put(make_map())
    seen.add(store.fingerprint())
    store.describe_measure("area", "", "Words.")
    seen.add(store.fingerprint())
    assert len(seen) == 3


def test_digest_depends_on_every_value_and_on_no_order_of_mappings() -> None:
    assert digest("a", 1, {"x": 1, "y": [2, None]}) == digest("a", 1, {"y": [2, None], "x": 1})
    assert digest(b=1, a=2) == digest(a=2, b=1)
    different = [digest(), digest("a"), digest("a", "b"), digest("ab"), digest(["a", "b"]), digest(a="b"), digest(1)]
    assert len({*different, digest("1"), digest(1.5), digest(None), digest(True)}) == len(different) + 4
    assert MapStore.digest("a") == digest("a")
    assert len(digest()) == 64
    with pytest.raises(ValueError, match="JSON"):
        digest(float("nan"))
    with pytest.raises(TypeError):
        digest(object())


def test_threads_share_a_store(store: MapStore, make_map: Callable[..., StoredMap]) -> None:
    def work(thread: int) -> None:
        for i in range(20):
            stored = make_map(image_id=100 * thread + i)
            assert store.put(stored)
            found = store.get(stored.digest)
            assert found is not None
            assert np.array_equal(found.map, stored.map)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert len(store) == 120


def test_a_fork_gets_connections_of_its_own(store: MapStore, make_map: Callable[..., StoredMap]) -> None:
    stored = make_map()
    store.put(stored)
    pid = os.fork()
    if pid == 0:
        ok = store.get(stored.digest) is not None and store.put(make_map(image_id=2))
        os._exit(0 if ok else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert len(store) == 2


@pytest.mark.parametrize("content", [b"not a database" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_file_is_set_aside(tmp_path: Path, make_map: Callable[..., StoredMap], content: bytes) -> None:
    path = tmp_path / "m.sqlite"
    path.write_bytes(content)
    with pytest.warns(RuntimeWarning, match=r"m\.sqlite is damaged"), MapStore(path) as store:
        assert store.put(make_map())
    aside = list(tmp_path.glob("m.sqlite.damaged-*"))
    assert [file.read_bytes() for file in aside] == [content]
    with MapStore(path) as store:
        assert len(store) == 1


def test_damage_in_the_middle_gives_one_sentence(tmp_path: Path, make_map: Callable[..., StoredMap]) -> None:
    path = tmp_path / "m.sqlite"
    with MapStore(path) as store:
        for i in range(200):
            store.put(make_map(image_id=i))
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    with MapStore(path) as store, pytest.raises(WarehouseError, match=r"The map store .* failed"):
        list(store.columns(10))


def test_a_file_of_a_newer_version(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(WarehouseError, match="newer version"):
        MapStore(path)


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(WarehouseError, match="Cannot open the map store"):
        MapStore(tmp_path / "missing" / "m.sqlite")
