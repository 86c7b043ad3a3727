"""The store of explanation maps: a SQLite file shared by all dashboards and commands of a warehouse.

A map that `put` has acknowledged survives `kill -9` of any process (write-ahead log, one transaction a map)
and may only be lost to a power cut in the second after. Maps can be computed again, so a damaged file is set
aside, with a warning, and a new one begun; and when the file outgrows its limit the least recently used maps
leave. They also leave the relation `explanations`, at the next publish.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sqlite3
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warehouse.byte_size import byte_size
from warehouse.errors import UserError, WarehouseError
from warehouse.maps_file import WAIT_SECONDS, bytes_in_use, connect, prepare
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

__all__ = ["LIMIT_VARIABLE", "MapStore", "Measure", "StoredMap", "digest", "limit_from"]

LIMIT_VARIABLE = "VACPANEL_MAP_CACHE"
"""Environment variable with the limit of map stores in bytes, as `byte_size` reads it."""

_DEFAULT_LIMIT = "4G"
_SMALLEST_LIMIT = 1 << 20

# A full store makes room for more than one map at a time, and no `put` waits long for it.
_LEAVE_TOGETHER = 8
_BATCHES_A_PUT = 64
_SLACK = 0.01

# Uses that nobody wrote down yet; they are only hints, so losing some to a crash does no harm.
_USES_AT_ONCE = 256
_USES_SECONDS = 30.0
_USES_KEPT = 8192


def limit_from(text: str) -> int:
    """Return the limit of a map store in bytes from a text such as `500M`.

    Raises
    ------
    UserError
        If it cannot be read, or is below 1 MiB.
    """
    limit = byte_size(text)
    if limit < _SMALLEST_LIMIT:
        raise UserError(f"The map store needs at least 1M, not {text}.")
    return limit


class MapStore:
    """The explanation maps of a warehouse, kept by digest.

    Safe to use from any number of threads and processes, on a local disk (SQLite's write-ahead log does not
    work on network file systems). Costs about 0.1 ms to get and 0.5 ms to put a map.

    Parameters
    ----------
    path
        The SQLite file, `Folder.explanations`; made when missing.
    limit
        Bytes that the file may use (its write-ahead log, a few megabytes, not counted). A `put` beyond it makes
        room: the maps that no process used for longest leave in batches, and their pages are used again. None: the
        environment variable `VACPANEL_MAP_CACHE`, such as `500M`, else 4 GiB. Each process keeps its own limit.

    Raises
    ------
    WarehouseError
        If the file cannot be opened, or was written by a newer version.
    UserError
        If the environment's limit cannot be read or is below 1 MiB.
    """

    digest = staticmethod(digest)

    def __init__(self, path: str | Path, limit: int | None = None) -> None:
        self.path = Path(path)
        if limit is None:
            limit = limit_from(os.environ.get(LIMIT_VARIABLE) or _DEFAULT_LIMIT)
        self.limit = limit
        # Appending to a deque and taking from it need no lock, which a fork might copy while it is held.
        self._uses: deque[int] = deque(maxlen=_USES_KEPT)
        self._uses_written = time.monotonic()
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
        """Return the map with this key, or None.

        That it was used is noted in memory, and written with the next `put` or, if nobody else is writing at
        that moment, every 256 uses or 30 seconds.
        """
        with self._connection() as connection:
            row = connection.execute(
                "SELECT explanation.*, pixels FROM explanation JOIN map USING (id) WHERE digest = ?", [digest]
            ).fetchone()
            if row is None:
                return None
            self._uses.append(row["id"])
            if len(self._uses) >= _USES_AT_ONCE or time.monotonic() - self._uses_written > _USES_SECONDS:
                self._write_uses_unless_busy(connection)
        return _stored(row)

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
            self._write_uses(connection)
            cursor = connection.execute(
                f"INSERT INTO explanation ({names}) VALUES ({marks}) ON CONFLICT (digest) DO NOTHING",
                list(values.values()),
            )
            if cursor.rowcount == 0:
                return False
            connection.execute("INSERT INTO map (id, pixels) VALUES (?, ?)", [cursor.lastrowid, pixels])
            connection.executemany(
                "INSERT OR IGNORE INTO measure (name, unit, description) VALUES (?, '', '')",
                [(name,) for name in stored.measures],
            )
            self._make_room(connection)
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
        """Return the measures that maps have had or that were described, by name.

        Unit and description of one that was not described are empty.
        """
        with self._connection() as connection:
            rows = connection.execute("SELECT name, unit, description FROM measure ORDER BY name").fetchall()
        return [Measure(*row) for row in rows]

    def __len__(self) -> int:
        with self._connection() as connection:
            return int(connection.execute("SELECT count(*) FROM recency").fetchone()[0])

    @property
    def size(self) -> int:
        """Bytes of the file that hold something."""
        with self._connection() as connection:
            return bytes_in_use(connection)

    def columns(self, chunk: int) -> Iterator[dict[str, tuple[Any, ...]]]:
        """Yield the numbers of all maps by column, at most `chunk` maps at a time, oldest first.

        The columns are the fields of `StoredMap` without `map`, as the file has them: `measures` and `flags` are
        JSON, `created_at` is ISO 8601. What other processes put meanwhile does not appear.
        """
        with self._connection() as connection:
            cursor = connection.execute("SELECT * FROM explanation ORDER BY id")
            cursor.row_factory = None
            names = [column[0] for column in cursor.description]
            while rows := cursor.fetchmany(chunk):
                columns = dict(zip(names, zip(*rows, strict=True), strict=True))
                del columns["id"]
                yield columns

    def fingerprint(self) -> str:
        """Return a text that changes when maps or descriptions of measures do."""
        with self._connection() as connection:
            count, newest = connection.execute("SELECT count(*), max(id) FROM recency").fetchone()
            described = connection.execute("SELECT name, unit, description FROM measure ORDER BY name").fetchall()
        return digest(count, newest, [list(row) for row in described])

    def close(self) -> None:
        """Close the idle connections; calls that still run in other threads close theirs when they end."""
        if self._uses and not self._closed:
            with contextlib.suppress(WarehouseError), self._connection() as connection:
                self._write_uses_unless_busy(connection)
        self._closed = True
        self._drain()

    def _make_room(self, connection: sqlite3.Connection) -> None:
        """Let the least recently used maps go if the file is too large; the newest map always stays."""
        if bytes_in_use(connection) <= self.limit:
            return
        for _ in range(_BATCHES_A_PUT):
            gone = connection.execute(
                "DELETE FROM explanation WHERE id IN (SELECT id FROM recency"
                " WHERE id < (SELECT max(id) FROM recency) ORDER BY used, id LIMIT ?)",
                [_LEAVE_TOGETHER],
            )
            if gone.rowcount < _LEAVE_TOGETHER or bytes_in_use(connection) <= (1 - _SLACK) * self.limit:
                return

    def _write_uses(self, connection: sqlite3.Connection) -> None:
        """Stamp the maps used in this process with the id of the newest map."""
        used = set()
        with contextlib.suppress(IndexError):
            while True:
                used.add(self._uses.popleft())
        self._uses_written = time.monotonic()
        connection.executemany(
            "UPDATE recency SET used = (SELECT max(id) FROM recency) WHERE id = ?", [(number,) for number in used]
        )

    def _write_uses_unless_busy(self, connection: sqlite3.Connection) -> None:
        """Do so in a transaction of its own; not if another process is writing just now or the disk is full."""
        connection.execute("PRAGMA busy_timeout = 0")
        try:
            connection.execute("BEGIN IMMEDIATE")
            self._write_uses(connection)
            connection.execute("COMMIT")
        except sqlite3.OperationalError:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        finally:
            connection.execute(f"PRAGMA busy_timeout = {WAIT_SECONDS * 1000:.0f}")

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
