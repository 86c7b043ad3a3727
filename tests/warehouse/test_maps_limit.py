"""The store of maps makes room: what is least recently used leaves, and the file stops growing."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pytest

from warehouse.byte_size import byte_size
from warehouse.errors import UserError
from warehouse.maps import LIMIT_VARIABLE, MapStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from warehouse.stored_map import StoredMap

LIMIT = 1 << 20
MAP_BYTES = 64 * 64 * 4  # random numbers do not compress below 85 %


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "explanations.sqlite"


@pytest.fixture
def large(make_map: Callable[..., StoredMap]) -> Callable[[int], StoredMap]:
    """Return a function that makes a map of 64 x 64 random numbers."""

    def make(image_id: int) -> StoredMap:
        pixels = np.random.default_rng(image_id).random((64, 64), dtype=np.float32)
        return make_map(image_id=image_id, map=pixels)

    return make


def kept(store: MapStore) -> list[int]:
    """Return the image ids of the maps that are there, oldest first, without using them."""
    return [number for chunk in store.columns(1000) for number in chunk["image_id"]]


def test_the_oldest_leave_when_the_limit_is_passed(path: Path, large: Callable[[int], StoredMap]) -> None:
    with MapStore(path, LIMIT) as store:
        for i in range(300):
            assert store.put(large(i))
            assert store.size <= LIMIT
        there = kept(store)
        # What is left is the newest of them, and most of the limit is made use of.
        assert there == list(range(300 - len(there), 300))
        assert len(store) == len(there) > 0.4 * LIMIT / MAP_BYTES
        assert store.get(large(0).digest) is None


def test_the_file_does_not_grow_for_ever(path: Path, large: Callable[[int], StoredMap]) -> None:
    with MapStore(path, LIMIT) as store:
        for i in range(1000):  # sixteen times the limit
            store.put(large(i))
    assert path.stat().st_size < LIMIT + 4 * MAP_BYTES
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_small_maps_leave_too(path: Path, make_map: Callable[..., StoredMap]) -> None:
    with MapStore(path, LIMIT) as store:
        for i in range(3000):
            store.put(make_map(image_id=i))
        assert store.size <= LIMIT
        assert 500 < len(store) < 3000
        there = kept(store)
        assert there == list(range(3000 - len(there), 3000))
    assert path.stat().st_size < LIMIT + 64 * 1024


def test_what_is_used_stays(path: Path, large: Callable[[int], StoredMap]) -> None:
    with MapStore(path, LIMIT) as store:
        for i in range(300):
            store.put(large(i))
            assert store.get(large(7).digest) is not None or i < 7
        there = kept(store)
        assert there == [7, *range(301 - len(there), 300)]


def test_use_in_another_process_counts(path: Path, large: Callable[[int], StoredMap]) -> None:
    with MapStore(path, LIMIT) as store:
        for i in range(40):
            store.put(large(i))
        script = "import sys; from warehouse.maps import MapStore\nwith MapStore(sys.argv[1]) as s: s.get(sys.argv[2])"
        subprocess.run([sys.executable, "-c", script, path, large(3).digest], check=True)
        for i in range(40, 80):
            store.put(large(i))
        assert 3 in kept(store)
        assert not {0, 1, 2, 4, 5, 6, 7, 8} & set(kept(store))


def test_a_map_that_left_can_come_back(path: Path, large: Callable[[int], StoredMap]) -> None:
    with MapStore(path, LIMIT) as store:
        fingerprints = set()
        for i in range(100):
            store.put(large(i))
            fingerprints.add(store.fingerprint())
        assert len(fingerprints) == 100  # also when as many left as came
        assert store.get(large(0).digest) is None
        assert store.put(large(0))
        found = store.get(large(0).digest)
        assert found is not None
        assert np.array_equal(found.map, large(0).map)
        assert kept(store)[-1] == 0


def test_a_map_larger_than_the_limit_is_kept_alone(path: Path, make_map: Callable[..., StoredMap]) -> None:
    with MapStore(path, LIMIT) as store:
        store.put(make_map(image_id=1))
        giant = make_map(image_id=2, map=np.random.default_rng(0).random((600, 600), dtype=np.float32))
        store.put(giant)
        assert kept(store) == [2]
        assert store.get(giant.digest) is not None
        store.put(make_map(image_id=3))
        assert kept(store) == [3]


def test_a_lower_limit_is_reached_put_by_put(path: Path, make_map: Callable[..., StoredMap]) -> None:
    with MapStore(path) as store:
        for i in range(6000):
            store.put(make_map(image_id=i))
        assert store.size > 2 * LIMIT
    with MapStore(path, LIMIT) as store:
        sizes = []
        while store.size > LIMIT:
            store.put(make_map(image_id=10_000 + len(sizes)))
            sizes.append(len(store))
        # No put has to remove them all, and it does not take many puts.
        assert 3 < len(sizes) < 10


def test_a_get_writes_nothing(path: Path, make_map: Callable[..., StoredMap]) -> None:
    with MapStore(path) as store, closing(sqlite3.connect(path)) as other:
        store.put(make_map())
        before = other.execute("PRAGMA data_version").fetchone()
        for _ in range(200):
            store.get(make_map().digest)
        assert other.execute("PRAGMA data_version").fetchone() == before


def test_uses_are_written_now_and_then(
    path: Path, make_map: Callable[..., StoredMap], monkeypatch: pytest.MonkeyPatch
) -> None:
    def used() -> list[int]:
        return [row[0] for row in other.execute("SELECT used FROM recency ORDER BY id")]

    with MapStore(path) as store, closing(sqlite3.connect(path)) as other:
        for i in range(3):
            store.put(make_map(image_id=i))
        assert used() == [1, 2, 3]
        for _ in range(256):
            store.get(make_map(image_id=0).digest)
        assert used() == [3, 2, 3]
        store.get(make_map(image_id=1).digest)
        assert used() == [3, 2, 3]
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + 60)
        store.get(make_map(image_id=1).digest)
        assert used() == [3, 3, 3]


def test_a_get_does_not_wait_for_a_writer(path: Path, make_map: Callable[..., StoredMap]) -> None:
    with MapStore(path) as store, closing(sqlite3.connect(path, isolation_level=None)) as other:
        for i in range(2):
            store.put(make_map(image_id=i))
        other.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        for _ in range(600):
            assert store.get(make_map(image_id=0).digest) is not None
        assert time.monotonic() - started < 15  # a put would wait 30 s
        other.execute("ROLLBACK")
        store.get(make_map(image_id=0).digest)
        assert other.execute("SELECT used FROM recency ORDER BY id").fetchall() == [(2,), (2,)]


def test_processes_share_one_limit(path: Path) -> None:
    script = """
import sys, datetime
import numpy as np
from warehouse.maps import MapStore, StoredMap, digest
store, name = MapStore(sys.argv[1]), sys.argv[2]
rng = np.random.default_rng(0)
for i in range(120):
    store.put(StoredMap(
        digest=digest(name, i), model="demo:net", model_key="k", image_id=i, image_sha256="s", method="grad-cam",
        method_version=1, target_class_id=0, parameters="{}", height=64, width=64,
        map=rng.random((64, 64), dtype=np.float32), predicted_class_id=0, confidence=0.5, measures={}, flags=[],
        seconds=0.0, created_at=datetime.datetime(2026, 1, 1)))
"""
    environment = {**os.environ, LIMIT_VARIABLE: "1M"}
    writers = [subprocess.Popen([sys.executable, "-c", script, path, str(i)], env=environment) for i in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    with MapStore(path) as store:
        assert store.size <= LIMIT
        assert len(store) > 0.4 * LIMIT / MAP_BYTES
    assert path.stat().st_size < LIMIT + 4 * MAP_BYTES


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("512", 512),
        ("3k", 3072),
        ("500M", 500 << 20),
        ("4G", 4 << 30),
        ("1.5 GiB", 3 << 29),
        ("2TB", 2 << 40),
    ],
)
def test_sizes_are_read(text: str, expected: int) -> None:
    assert byte_size(text) == expected


@pytest.mark.parametrize("text", ["", "G", "4X", "-1M", "1e9", "4 4"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="no size in bytes"):
        byte_size(text)


def test_the_limit_comes_from_the_environment(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with MapStore(path) as store:
        assert store.limit == 4 << 30
    monkeypatch.setenv(LIMIT_VARIABLE, "500M")
    with MapStore(path) as store:
        assert store.limit == 500 << 20
    monkeypatch.setenv(LIMIT_VARIABLE, "much")
    with pytest.raises(UserError, match="'much' is no size"):
        MapStore(path)
    monkeypatch.setenv(LIMIT_VARIABLE, "100K")
    with pytest.raises(UserError, match="at least 1M, not 100K"):
        MapStore(path)
