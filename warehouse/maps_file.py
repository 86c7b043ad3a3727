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

_VERSION = 1
_WAIT_SECONDS = 30.0
_DAMAGED = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}

# The pixels lie apart from the numbers, so that listing the numbers of a million maps does not read the maps.
# AUTOINCREMENT: an id is never used twice, so (count, max(id)) tells whether rows came or went.
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
"""


def connect(path: Path) -> sqlite3.Connection:
    """Open the file, making it and its tables when they are missing.

    The connection is in autocommit mode, may move between threads (one at a time), and waits up to 30 s for
    others.

    Raises
    ------
    WarehouseError
        If that is impossible or the file is from a newer version.
    """
    try:
        connection = sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False)
    except sqlite3.OperationalError as error:
        raise WarehouseError(f"Cannot open the map store {path}: {error}.") from error
    try:
        _configure(connection, path)
    except sqlite3.DatabaseError as error:
        connection.close()
        raise WarehouseError(f"Cannot open the map store {path}: {error}.") from error
    except WarehouseError:
        connection.close()
        raise
    return connection


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
        raise WarehouseError(f"Cannot open the map store {path}: {error.strerror}.") from error
    with lock:
        # One process decides at a time; the next one finds the new file whole.
        fcntl.flock(lock, fcntl.LOCK_EX)
        damage = _damage(path) if path.exists() else None
        if damage is not None:
            aside = _set_aside(path)
            warnings.warn(
                f"{path} is damaged ({damage}); it was set aside as {aside.name} and maps will be computed again.",
                RuntimeWarning,
                stacklevel=3,
            )
        connect(path).close()


def _set_aside(path: Path) -> Path:
    aside = path.with_name(f"{path.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return path.replace(aside)


def _configure(connection: sqlite3.Connection, path: Path) -> None:
    connection.row_factory = sqlite3.Row
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > _VERSION:
        raise WarehouseError(f"{path} was written by a newer version of this software (format {version}); update it.")
    # NORMAL: a commit is safe from killed processes at once and from power cuts at the next checkpoint.
    connection.execute("PRAGMA synchronous = NORMAL")
    if version < _VERSION:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")


def _damage(path: Path) -> str | None:
    """Return what is wrong with the file's header and schema, or None; other problems are not damage."""
    connection = sqlite3.connect(path, timeout=_WAIT_SECONDS)
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.DatabaseError as error:
        # The low byte is the kind of error, the rest its detail.
        return str(error) if error.sqlite_errorcode & 0xFF in _DAMAGED else None
    finally:
        connection.close()
    return None
