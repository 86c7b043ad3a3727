"""Opening the SQLite file of the map store, and what to do when it is damaged."""

from __future__ import annotations

import fcntl
import sqlite3
import warnings
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from warehouse.errors import WarehouseError

if TYPE_CHECKING:
    from pathlib import Path

_VERSION = 2
WAIT_SECONDS = 30.0
_DAMAGED = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}

# The pixels lie apart from the numbers, so that listing the numbers of a million maps does not read the maps; when a
# map was used lies apart from both, so that noting it rewrites twenty bytes a map. AUTOINCREMENT: an id is never used
# twice, so (count, max(id)) tells whether rows came or went. The triggers also serve whoever writes as version 1 did.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS explanation (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  digest TEXT NOT NULL UNIQUE,
  model TEXT NOT NULL,
  model_key TEXT NOT NULL,
  image_id INTEGER NOT NULL,
  image_sha256 TEXT NOT NULL,
  method TEXT NOT NULL,
  method_version INTEGER NOT NULL,
  target_class_id INTEGER NOT NULL,
  parameters TEXT NOT NULL,
  height INTEGER NOT NULL,
  width INTEGER NOT NULL,
  predicted_class_id INTEGER NOT NULL,
  confidence REAL NOT NULL,
  measures TEXT NOT NULL,
  flags TEXT NOT NULL,
  seconds REAL NOT NULL,
  created_at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS map (id INTEGER PRIMARY KEY REFERENCES explanation (id), pixels BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS measure (name TEXT PRIMARY KEY, unit TEXT NOT NULL, description TEXT NOT NULL);

-- The id of the newest map at the time when this one was last used: time is counted in maps, which no clock can upset.
CREATE TABLE IF NOT EXISTS recency (id INTEGER PRIMARY KEY REFERENCES explanation (id), used INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS recency_used ON recency (used);
CREATE TRIGGER IF NOT EXISTS explanation_came AFTER INSERT ON explanation BEGIN
  INSERT INTO recency (id, used) VALUES (new.id, new.id);
END;
CREATE TRIGGER IF NOT EXISTS explanation_went AFTER DELETE ON explanation BEGIN
  DELETE FROM map WHERE id = old.id;
  DELETE FROM recency WHERE id = old.id;
END;
"""

# Version 1 had neither recency nor the names of measures that nobody described. On a new file this does nothing.
_FROM_VERSION_1 = """
INSERT OR IGNORE INTO recency (id, used) SELECT id, id FROM explanation;
INSERT OR IGNORE INTO measure (name, unit, description)
  SELECT DISTINCT key, '', '' FROM explanation, json_each(measures);
"""


def connect(path: Path) -> sqlite3.Connection:
    """Open the file, making it and its tables when they are missing, and bringing an older format up to date.

    The connection is in autocommit mode, may move between threads (one at a time), and waits up to 30 s for
    others.

    Raises
    ------
    WarehouseError
        If that is impossible or the file is from a newer version.
    """
    try:
        return _open(path)
    except sqlite3.DatabaseError as error:
        raise _cannot_open(path, str(error)) from error


def prepare(path: Path) -> None:
    """Make the file unless it is there, or set it aside, with a warning, if it is no SQLite database any more.

    Raises
    ------
    WarehouseError
        If the folder does not exist or cannot be written, or the file is from a newer version.
    """
    try:
        lock = path.with_name(f".{path.name}.lock").open("w")
    except OSError as error:
        raise _cannot_open(path, str(error.strerror)) from error
    with lock:
        # One process decides at a time; the next one finds the new file whole.
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            _open(path).close()
        except sqlite3.DatabaseError as error:
            # The low byte is the kind of error, the rest its detail. Other errors are not damage.
            if error.sqlite_errorcode & 0xFF not in _DAMAGED:
                raise _cannot_open(path, str(error)) from error
            aside = _set_aside(path)
            warnings.warn(
                f"{path} is damaged ({error}); it was set aside as {aside.name} and maps will be computed again.",
                RuntimeWarning,
                stacklevel=3,
            )
            connect(path).close()


def bytes_in_use(connection: sqlite3.Connection) -> int:
    """Return the size of the file without the pages that wait to be used again; three numbers of its header."""
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _set_aside(path: Path) -> Path:
    aside = path.with_name(f"{path.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return path.replace(aside)


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        _configure(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _configure(connection: sqlite3.Connection, path: Path) -> None:
    connection.row_factory = sqlite3.Row
    # Reads the schema, so that a damaged one is noticed here.
    connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > _VERSION:
        raise WarehouseError(f"{path} was written by a newer version of this software (format {version}); update it.")
    # NORMAL: a commit is safe from killed processes at once and from power cuts at the next checkpoint.
    connection.execute("PRAGMA synchronous = NORMAL")
    if version < _VERSION:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(
            f"BEGIN IMMEDIATE; {_SCHEMA} {_FROM_VERSION_1} PRAGMA user_version = {_VERSION}; COMMIT;"
        )


def _cannot_open(path: Path, reason: str) -> WarehouseError:
    return WarehouseError(f"Cannot open the map store {path}: {reason}.")
