"""Making what was computed visible: a new generation of the database, swapped in with one rename.

No published file is ever opened for writing here, nor replaced under its name: a new file gets a new number,
and symbolic links are pointed at it. Readers of older generations keep what they opened; whoever opens
`warehouse.duckdb`, even read-write, meets no lock of anybody else's.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import re
import shutil
import time
from typing import TYPE_CHECKING

import duckdb

from warehouse import files
from warehouse.build import build_generation, stamp_generation
from warehouse.connection import build_database, connect_read_only
from warehouse.errors import WarehouseError
from warehouse.explanations import write_explanations
from warehouse.folder import Folder
from warehouse.snapshot import Snapshot, take_snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_KEPT_GENERATIONS = 2
_GENERATION_FILE = re.compile(r"(\d{6,})(-sql)?\.duckdb(\..+)?")


@dataclasses.dataclass(frozen=True)
class Generation:
    """A published state of a warehouse.

    Parameters
    ----------
    number
        Its number; later states have higher ones.
    seconds
        How long publishing took.
    changed
        False when there was nothing new and the generation had been published before.
    """

    number: int
    seconds: float
    changed: bool


def publish(root: str | Path | Folder, *, force: bool = False) -> Generation:
    """Make everything computed so far visible to dashboards and SQL.

    May be called at any time, by any number of threads and processes: they take turns, and those who find
    nothing new to publish return at once. A call that is killed leaves the generation before in place.

    Parameters
    ----------
    root
        The folder of the warehouse, or the `warehouse.duckdb` in it.
    force
        Publish a new generation even if nothing changed.

    Raises
    ------
    WarehouseError
        If there is no warehouse, a file in it is damaged, or the disk cannot be written.
    """
    started = time.perf_counter()
    folder = root if isinstance(root, Folder) else Folder.at(root)
    with _publish_lock(folder):
        _remove_leftovers(folder)
        snapshot = take_snapshot(folder)
        current = folder.current_generation()
        published = None if current is None or force else _fingerprints(folder, current)
        changed = current is None or published != (snapshot.inputs, snapshot.explanations)
        number = _next_number(folder) if changed else current
        assert number is not None
        if changed:
            only_explanations = published is not None and published[0] == snapshot.inputs
            base = folder.generation_file(current) if only_explanations and current is not None else None
            try:
                _write(folder, snapshot, number, base)
            except (duckdb.IOException, duckdb.TransactionException, OSError) as error:
                raise WarehouseError(f"Cannot publish in {folder.root}: {error}") from error
        # Also when nothing changed: a publish killed between the two links is completed by the next.
        _point_at(folder, number)
        _remove_old(folder, number)
    return Generation(number, time.perf_counter() - started, changed)


@contextlib.contextmanager
def _publish_lock(folder: Folder) -> Iterator[None]:
    try:
        lock = folder.lock.open("w")
    except OSError as error:
        raise WarehouseError(f"Cannot publish in {folder.root}: {error.strerror}.") from error
    with lock:  # closing the file, also by dying, gives the lock back
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fingerprints(folder: Folder, number: int) -> tuple[str, str] | None:
    """Return what a generation was made from (inputs, explanations), or None if it cannot be read."""
    try:
        with connect_read_only(folder.generation_file(number)) as connection:
            row = connection.execute("SELECT inputs, explanations FROM store.generation").fetchone()
    except (FileNotFoundError, WarehouseError, duckdb.Error):
        return None
    return row


def _write(folder: Folder, snapshot: Snapshot, number: int, base: Path | None) -> None:
    """Write the two files of a generation; from `base`, where only explanations changed since."""
    target, copy = folder.generation_file(number), folder.generation_copy(number)
    with files.temporary_path(target) as temporary, files.temporary_path(copy) as temporary_copy:
        if base is not None:
            files.copy(base, temporary)
        with build_database(temporary) as connection:
            if base is None:
                build_generation(connection, folder, snapshot, number)
            else:
                connection.begin()
                write_explanations(connection, folder)
                stamp_generation(connection, snapshot, number)
                connection.commit()
        files.copy(temporary, temporary_copy)
        files.replace(temporary_copy, copy)
        files.replace(temporary, target)


def _point_at(folder: Folder, number: int) -> None:
    if folder.current_generation() != number:
        files.replace_link(folder.current, folder.generation_file(number).name)
    copy = folder.generation_copy(number)
    if not copy.exists():
        with files.temporary_path(copy) as temporary:
            files.copy(folder.generation_file(number), temporary)
            files.replace(temporary, copy)
    target = str(copy.relative_to(folder.root))
    if not folder.published.is_symlink() or str(folder.published.readlink()) != target:
        files.replace_link(folder.published, target)


def _next_number(folder: Folder) -> int:
    """Return a number that no file has: a stale write-ahead log must never meet a new database."""
    return 1 + max((number for number, _ in _generation_files(folder)), default=0)


def _generation_files(folder: Folder) -> list[tuple[int, Path]]:
    found = ((_GENERATION_FILE.fullmatch(path.name), path) for path in folder.generations.iterdir())
    return [(int(match[1]), path) for match, path in found if match]


def _remove_old(folder: Folder, number: int) -> None:
    """Remove all but the newest generations; whoever has an older one open keeps it until they close it."""
    kept = sorted({found for found, path in _generation_files(folder) if path.suffix == ".duckdb" and found <= number})
    oldest = kept[-_KEPT_GENERATIONS:][0]
    for found, path in _generation_files(folder):
        if found < oldest:
            _remove(path)


def _remove_leftovers(folder: Folder) -> None:
    """Remove what killed publishers left; the lock is held, so none of it is in use."""
    for path in folder.generations.glob(f"{files.TEMPORARY}*"):
        _remove(path)
    for link in folder.root.glob(f"{files.TEMPORARY}*-{folder.published.name}"):
        _remove(link)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
