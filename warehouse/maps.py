"""The store of explanation maps: a SQLite file shared by all dashboards and commands of a warehouse.

A map that `put` has acknowledged survives `kill -9` of any process (write-ahead log, one transaction a map)
and may only be lost to a power cut in the second after. Maps can be computed again, so a damaged file is set
aside, with a warning, and a new one begun.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warehouse.errors import WarehouseError
from warehouse.maps_file import connect, prepare
from warehouse.stored_map import (
    Measure,
    StoredMap,
    check_measure,
    decode_pixels,
    digest,
    encode_pixels,
    from_row,
    to_row,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MapStore", "Measure", "StoredMap", "digest"]


class MapStore:
    """The explanation maps of a warehouse, kept by digest.

    Safe to use from any number of threads and processes, on a local disk (SQLite's write-ahead log does not
    work on network file systems). Costs about 0.1 ms to get and 0.5 ms to put a map.

    Parameters
    ----------
    path
        The SQLite file, `Folder.explanations`; made when missing.

    Raises
    ------
    WarehouseError
        If the file cannot be opened, or was written by a newer version.
    """

    digest = staticmethod(digest)

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._idle: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        self._pid = os.getpid()
        self._inherited: list[object] = []
        self._closed = False
        prepare(self.path)

    def __enter__(self) -> MapStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, digest: str) -> StoredMap | None:
        """Return the map with this key, or None."""
        with self._connection() as connection:
            row = connection.execute(
                "SELECT explanation.*, pixels FROM explanation JOIN map USING (id) WHERE digest = ?", [digest]
            ).fetchone()
        return None if row is None else _stored(row)

    def put(self, stored: StoredMap) -> bool:
        """Keep a map; when this returns, no crash of a process loses it.

        Returns
        -------
        bool
            False when a map with this key was there already: that one stays.

        Raises
        ------
        ValueError
            If the array is not float32 of the stated shape, or a measure has a name that it cannot have.
        """
        values = to_row(stored)
        names = ", ".join(values)
        marks = ", ".join("?" * len(values))
        pixels = encode_pixels(stored.map)
        with self._transaction() as connection:
            cursor = connection.execute(
                f"INSERT INTO explanation ({names}) VALUES ({marks}) ON CONFLICT (digest) DO NOTHING",
                list(values.values()),
            )
            if cursor.rowcount == 0:
                return False
            connection.execute("INSERT INTO map (id, pixels) VALUES (?, ?)", [cursor.lastrowid, pixels])
        return True

    def describe_measure(self, name: str, unit: str, description: str) -> None:
        """Say what a measure is; the words become the comment of its column in the relation `explanations`.

        Raises
        ------
        ValueError
            If the name is not lower case letters, digits and underscores, or is that of a field of
            `StoredMap`.
        """
        check_measure(name)
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO measure (name, unit, description) VALUES (?, ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET unit = excluded.unit, description = excluded.description",
                [name, unit, description],
            )

    def measures(self) -> list[Measure]:
        """Return the measures that maps have or that were described, by name.

        Unit and description of one that was not described are empty.
        """
        with self._connection() as connection:
            rows = connection.execute(
                "WITH found AS (SELECT DISTINCT key AS name FROM explanation, json_each(measures)"
                " UNION SELECT name FROM measure)"
                " SELECT name, coalesce(unit, ''), coalesce(description, '')"
                " FROM found LEFT JOIN measure USING (name) ORDER BY name"
            ).fetchall()
        return [Measure(*row) for row in rows]

    def __len__(self) -> int:
        with self._connection() as connection:
            return int(connection.execute("SELECT count(*) FROM explanation").fetchone()[0])

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield one dictionary per map, oldest first: the fields of `StoredMap` without `map`.

        What other processes put meanwhile does not appear.
        """
        with self._connection() as connection:
            for row in connection.execute("SELECT * FROM explanation ORDER BY id"):
                yield from_row(row)

    def fingerprint(self) -> str:
        """Return a text that changes when maps or descriptions of measures do."""
        with self._connection() as connection:
            count, newest = connection.execute("SELECT count(*), max(id) FROM explanation").fetchone()
            described = connection.execute("SELECT name, unit, description FROM measure ORDER BY name").fetchall()
        return digest(count, newest, [list(row) for row in described])

    def close(self) -> None:
        """Close the idle connections; calls that still run in other threads close theirs when they end."""
        self._closed = True
        self._drain()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._connection() as connection:
            # IMMEDIATE takes the write lock at once: two writers wait for each other instead of failing half
            # way.
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection to one call at a time; keep it open for the next."""
        if self._closed:
            raise WarehouseError(f"The map store {self.path} was closed.")
        if self._pid != os.getpid():
            # After a fork the parent's connections must be neither used nor closed.
            self._inherited.append(self._idle)
            self._idle = queue.LifoQueue()
            self._pid = os.getpid()
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = connect(self.path)
        try:
            yield connection
        except sqlite3.DatabaseError as error:
            connection.close()
            raise WarehouseError(f"The map store {self.path} failed: {error}.") from error
        except BaseException:
            connection.close()
            raise
        self._idle.put(connection)
        if self._closed:
            self._drain()

    def _drain(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()


def _stored(row: sqlite3.Row) -> StoredMap:
    fields = from_row(row)
    return StoredMap(map=decode_pixels(row["pixels"], fields["height"], fields["width"]), **fields)
