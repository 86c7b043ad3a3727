"""Durable, atomic changes to files: what is seen under a name is complete, also after `kill -9`.

A file is written under a temporary name, flushed to the disk, and only then renamed. Leftovers of killed
processes carry the prefix `TEMPORARY` and can be removed by whoever knows that their writer is gone.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import shutil
import socket
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEMPORARY = ".tmp-"


def temporary_name(path: Path) -> Path:
    """Return a fresh hidden name beside `path` that tells the process, and its machine, which writes it."""
    return path.with_name(f"{TEMPORARY}{os.getpid()}@{_machine()}-{uuid.uuid4().hex[:12]}-{path.name}")


def is_abandoned(temporary: Path) -> bool:
    """Tell whether the writer of a temporary file is gone; one on another machine is taken to be at work."""
    pid, _, machine = temporary.name.removeprefix(TEMPORARY).split("-", 1)[0].partition("@")
    if machine not in {"", _machine()}:
        return False
    return not (pid.isdigit() and process_is_alive(int(pid)))


@contextlib.contextmanager
def temporary_path(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path` and remove what is left under it at the end."""
    temporary = temporary_name(path)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def sync_file(path: Path) -> None:
    """Flush a file's content to the disk."""
    _sync(path)


def sync_directory(path: Path) -> None:
    """Flush a directory's entries to the disk, so that a rename in it survives a power cut."""
    # Some file systems cannot sync a directory; they order renames in their own way.
    with contextlib.suppress(OSError):
        _sync(path)


def replace(temporary: Path, path: Path) -> None:
    """Give a finished temporary file its name, whatever that name held before."""
    sync_file(temporary)
    temporary.replace(path)
    sync_directory(path.parent)


def create(temporary: Path, path: Path) -> bool:
    """Give a finished temporary file its name unless the name is taken.

    Returns
    -------
    bool
        False when `path` existed already: it is left as it was.
    """
    sync_file(temporary)
    try:
        # Unlike a rename, a hard link cannot overwrite a file that another process created meanwhile.
        path.hardlink_to(temporary)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}:
            raise
        if path.exists():
            return False
        temporary.replace(path)
    sync_directory(path.parent)
    return True


def replace_text(path: Path, text: str) -> None:
    """Write a small text file in one step that readers cannot see half done."""
    with temporary_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
        replace(temporary, path)


def replace_link(link: Path, target: str) -> None:
    """Point a symbolic link at `target` (relative to the link's folder) in one step."""
    with temporary_path(link) as temporary:
        temporary.symlink_to(target)
        temporary.replace(link)
        sync_directory(link.parent)


def copy(source: Path, target: Path) -> None:
    """Copy a file's content; where the file system can share blocks, gigabytes take milliseconds."""
    if hasattr(os, "copy_file_range"):
        try:
            _copy_range(source, target)
        except OSError:
            pass
        else:
            return
    shutil.copyfile(source, target)


def process_is_alive(pid: int) -> bool:
    """Tell whether a process of this machine runs under `pid`."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return pid < 2**31
    return True


@functools.cache
def _machine() -> str:
    """Tell machines that share a disk apart."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _copy_range(source: Path, target: Path) -> None:
    with source.open("rb") as reader, target.open("wb") as writer:
        remaining = os.fstat(reader.fileno()).st_size
        while remaining > 0:
            copied = os.copy_file_range(reader.fileno(), writer.fileno(), remaining)
            if copied == 0:
                raise OSError(errno.EIO, "the file became shorter while it was copied", str(source))
            remaining -= copied


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
