"""Stores of many maps: every look-up goes through an index."""

from __future__ import annotations

import hashlib
from contextlib import closing
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pytest

from warehouse.folder import Folder
from warehouse.maps import MapStore
from warehouse.maps_file import connect
from warehouse.publish import publish
from warehouse.stored_map import encode_pixels

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from warehouse.stored_map import StoredMap

ENTRIES = 200_000


def fill(path: Path, entries: int) -> None:
    """Write maps of one value, each with its number in every field that takes one."""
    MapStore(path).close()
    with closing(connect(path)) as connection:
        connection.create_function("sha", 1, lambda number: hashlib.sha256(b"%d" % number).hexdigest())
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(
            "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers LIMIT ?)"
            " INSERT INTO explanation SELECT n, sha(n), 'demo:net', 'key', n, 'sha', 'grad-cam', 1, n % 7, '{}', 7, 7,"
            " 0, 0.5, json_object('area', n / 4.0), '[]', 0, '2026-01-01T00:00:00' FROM numbers",
            [entries],
        )
        pixels = [encode_pixels(np.full((7, 7), i, np.float32)) for i in range(10)]
        connection.executemany(
            "INSERT INTO map VALUES (?, ?)", ((number, pixels[number % 10]) for number in range(1, entries + 1))
        )
        connection.execute("INSERT INTO measure VALUES ('area', '', 'Words.')")
        connection.execute("COMMIT")


def test_no_get_and_no_put_reads_a_whole_table(tmp_path: Path, make_map: Callable[..., StoredMap]) -> None:
    statements: list[str] = []
    with MapStore(tmp_path / "m.sqlite", 1 << 20) as store:
        with store._connection() as connection:
            connection.set_trace_callback(statements.append)
        for i in range(4000):
            stored = make_map(image_id=i, measures={"area": 0.5})
            store.put(stored)
            store.get(stored.digest)
        with store._connection() as connection:
            connection.set_trace_callback(None)
            words = {statement.split(maxsplit=1)[0] for statement in statements}
            assert {"SELECT", "INSERT", "UPDATE", "DELETE"} <= words
            for statement in {s for s in statements if s.split()[0] in {"SELECT", "INSERT", "UPDATE", "DELETE"}}:
                plan = [row["detail"] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
                # Only the first few of an index in order are a scan that stops early.
                scans = [step for step in plan if step.startswith("SCAN") and "INDEX recency_used" not in step]
                assert scans == [], statement


@pytest.mark.slow
def test_many_maps_are_found_and_published(
    tmp_path: Path, make_map: Callable[..., StoredMap], capfd: pytest.CaptureFixture[str]
) -> None:
    folder = Folder(tmp_path / "w").create()
    fill(folder.explanations, ENTRIES)
    rng = np.random.default_rng(0)
    with MapStore(folder.explanations) as store:
        assert len(store) == ENTRIES
        for number in [1, ENTRIES, *rng.integers(1, ENTRIES, 500)]:
            found = store.get(hashlib.sha256(b"%d" % number).hexdigest())
            assert found is not None
            assert (found.image_id, found.measures["area"]) == (number, number / 4)
            assert np.array_equal(found.map, np.full((7, 7), number % 10))
        assert store.get(hashlib.sha256(b"0").hexdigest()) is None
        assert store.put(make_map(image_id=0))
    publish(folder)
    assert capfd.readouterr().out == ""  # no progress bar
    with duckdb.connect(str(folder.published), read_only=True) as connection:
        row = connection.execute(
            "SELECT count(*), count(DISTINCT digest), sum(area), max(image_id), count(roi_area), count(flags)"
            " FROM explanations"
        ).fetchone()
    assert row == (ENTRIES + 1, ENTRIES + 1, ENTRIES * (ENTRIES + 1) / 8, ENTRIES, 0, 0)
