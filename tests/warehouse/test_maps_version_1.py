"""Stores of maps in format version 1, as they exist, are brought up to date in place."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pytest

from warehouse.maps import MapStore, Measure
from warehouse.stored_map import encode_pixels, to_row

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from warehouse.stored_map import StoredMap

VERSION_1 = """
PRAGMA journal_mode = WAL;
CREATE TABLE explanation (
  id INTEGER PRIMARY KEY AUTOINCREMENT, digest TEXT NOT NULL UNIQUE, model TEXT NOT NULL, model_key TEXT NOT NULL,
  image_id INTEGER NOT NULL, image_sha256 TEXT NOT NULL, method TEXT NOT NULL, method_version INTEGER NOT NULL,
  target_class_id INTEGER NOT NULL, parameters TEXT NOT NULL, height INTEGER NOT NULL, width INTEGER NOT NULL,
  predicted_class_id INTEGER NOT NULL, confidence REAL NOT NULL, measures TEXT NOT NULL, flags TEXT NOT NULL,
  seconds REAL NOT NULL, created_at TEXT NOT NULL
);
CREATE TABLE map (id INTEGER PRIMARY KEY REFERENCES explanation (id), pixels BLOB NOT NULL);
CREATE TABLE measure (name TEXT PRIMARY KEY, unit TEXT NOT NULL, description TEXT NOT NULL);
PRAGMA user_version = 1;
"""


def put(connection: sqlite3.Connection, stored: StoredMap) -> None:
    """Write a map with the statements of version 1."""
    row = to_row(stored)
    cursor = connection.execute(
        f"INSERT INTO explanation ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", list(row.values())
    )
    connection.execute("INSERT INTO map (id, pixels) VALUES (?, ?)", [cursor.lastrowid, encode_pixels(stored.map)])
    connection.commit()


@pytest.fixture
def maps(make_map: Callable[..., StoredMap]) -> list[StoredMap]:
    return [make_map(image_id=i, measures={"roi_area": i / 8, "deletion": 1.0}) for i in range(5)]


@pytest.fixture
def old(tmp_path: Path, maps: list[StoredMap]) -> Path:
    path = tmp_path / "explanations.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(VERSION_1)
        connection.execute("INSERT INTO measure VALUES ('roi_area', '', 'Words.')")
        for stored in maps:
            put(connection, stored)
    return path


def test_everything_is_still_there(old: Path, maps: list[StoredMap]) -> None:
    with MapStore(old) as store:
        assert len(store) == 5
        for stored in maps:
            found = store.get(stored.digest)
            assert found is not None
            assert np.array_equal(found.map, stored.map)
            assert found.measures == stored.measures
        assert store.measures() == [Measure("deletion", "", ""), Measure("roi_area", "", "Words.")]
    with closing(sqlite3.connect(old)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_several_processes_may_open_it_first(old: Path) -> None:
    script = "import sys; from warehouse.maps import MapStore; print(len(MapStore(sys.argv[1])))"
    processes = [
        subprocess.Popen([sys.executable, "-c", script, str(old)], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    assert [process.communicate()[0] for process in processes] == ["5\n"] * 3


def test_old_maps_make_room_for_new_ones(old: Path, make_map: Callable[..., StoredMap]) -> None:
    with MapStore(old, 1 << 20) as store:
        newest = make_map(image_id=9, map=np.random.default_rng(0).random((600, 600), dtype=np.float32))
        store.put(newest)
        assert len(store) == 1
        assert store.get(newest.digest) is not None
    with closing(sqlite3.connect(old)) as connection:
        assert connection.execute("SELECT count(*) FROM map").fetchone() == (1,)


def test_a_process_of_the_old_version_may_go_on(old: Path, make_map: Callable[..., StoredMap]) -> None:
    with closing(sqlite3.connect(old)) as running, MapStore(old, 1 << 20) as store:
        put(running, make_map(image_id=6))
        assert len(store) == 6
        store.put(make_map(image_id=9, map=np.random.default_rng(0).random((600, 600), dtype=np.float32)))
        assert len(store) == 1  # what the old version wrote can leave, too


def test_damage_that_is_found_on_the_way_sets_the_file_aside(old: Path, make_map: Callable[..., StoredMap]) -> None:
    with closing(sqlite3.connect(old)) as connection:
        page = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'explanation'").fetchone()[0]
    content = bytearray(old.read_bytes())
    content[4096 * (page - 1) : 4096 * page] = b"\xff" * 4096
    old.write_bytes(content)
    with pytest.warns(RuntimeWarning, match="is damaged"), MapStore(old) as store:
        assert store.put(make_map())
    assert [file.read_bytes() for file in old.parent.glob("*.damaged-*")] == [content]
