"""Where Parquet parts lie: on a disk that all machines see, or behind a URL of `fsspec`."""

from __future__ import annotations

import contextlib
import itertools
import posixpath
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit, urlunsplit

import pyarrow as pa
import pyarrow.parquet as pq

from warehouse import files
from warehouse.errors import UserError, WarehouseError
from warehouse.parquet import explained, names_in, read_table, read_tables, sweep

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_SUFFIX = ".parquet"
_CONNECTIONS = 16
"""Files that are read at once: over a network most of the time is waiting."""

_OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "memory"})
"""Protocols whose files appear complete or not at all. Elsewhere a file gets its name when it is complete."""


class Storage(Protocol):
    """A tree of Parquet files that appear complete and never change. Any number of processes may use it at once.

    Paths are relative, with `/` between plain names and without the suffix.
    """

    def where(self, path: str) -> str:
        """Return the full name of a file or directory, for people; without passwords."""
        ...

    def exists(self, path: str) -> bool:
        """Tell whether there is a file."""
        ...

    def create(self, path: str, table: pa.Table) -> bool:
        """Write a file unless there is one; return whether it was written."""
        ...

    def read(self, paths: Sequence[str], schema: pa.Schema) -> pa.Table:
        """Read files of one schema as one table, in order; `WarehouseError` if one is missing or damaged."""
        ...

    def names(self, directory: str) -> list[str]:
        """Return the names of the files in a directory, sorted; none if it does not exist."""
        ...

    def directories(self, directory: str) -> list[str]:
        """Return the names of the directories in a directory, sorted; none if it does not exist."""
        ...

    def sweep(self) -> int:
        """Remove what killed writers of this machine left behind; return how many files."""
        ...


def storage_at(location: str | Path) -> Storage:
    """Return the storage at a path, or at a URL such as `s3://bucket/folder`.

    Raises
    ------
    UserError
        If the URL is of no kind that is known here, or what it needs is not installed.
    """
    if isinstance(location, Path) or "://" not in location:
        return DiskStorage(Path(location).expanduser().absolute())
    if urlsplit(location).scheme in {"file", "local"}:
        return DiskStorage(Path(location.partition("://")[2]))
    return UrlStorage(location)


def without_password(location: str) -> str:
    """Return a path or URL as it may be shown and logged: without user and password."""
    if "://" not in location:
        return location
    parts = urlsplit(location)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


class DiskStorage:
    """Files below a directory of this machine, or of a network file system that it has mounted.

    Parameters
    ----------
    root
        The directory; made when the first file is written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, path: str) -> Path:
        """Return where a file lies, or would lie."""
        return self.root / f"{path}{_SUFFIX}"

    def where(self, path: str) -> str:
        """Return the path of a file."""
        return str(self.path(path))

    def exists(self, path: str) -> bool:
        """Tell whether there is a file."""
        return self.path(path).exists()

    def create(self, path: str, table: pa.Table) -> bool:
        """Write a file unless there is one; return whether it was written."""
        target = self.path(path)
        if target.exists():
            return False
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with files.temporary_path(target) as temporary:
                _write(table, temporary)
                return files.create(temporary, target)
        except OSError as error:  # a full disk, most often
            raise WarehouseError(f"Cannot write {target}: {error.strerror or error}.") from error

    def read(self, paths: Sequence[str], schema: pa.Schema) -> pa.Table:
        """Read files of one schema as one table, in order; `WarehouseError` if one is missing or damaged."""
        return read_tables([self.path(path) for path in paths], schema)

    def names(self, directory: str) -> list[str]:
        """Return the names of the files in a directory, sorted; none if it does not exist."""
        return names_in(self.root / directory)

    def directories(self, directory: str) -> list[str]:
        """Return the names of the directories in a directory, sorted; none if it does not exist."""
        place = self.root / directory
        return sorted(child.name for child in place.iterdir() if child.is_dir()) if place.is_dir() else []

    def sweep(self) -> int:
        """Remove what killed writers of this machine left behind; return how many files."""
        return sweep(self.root, "**")


def _write(table: pa.Table, to: Path | pa.NativeFile) -> None:
    # Of numbers that hardly repeat a dictionary only makes a file larger and slower to read.
    text = [field.name for field in table.schema if pa.types.is_string(field.type)]
    pq.write_table(table, to, compression="zstd", use_dictionary=text)


class UrlStorage:
    """Files behind a URL that `fsspec` understands: object stores, SFTP, HDFS and many more.

    Parameters
    ----------
    url
        Such as `s3://bucket/folder`. Credentials come from the environment, as each kind of storage documents it.

    Raises
    ------
    UserError
        If the kind of URL is not known, or what it needs is not installed.
    """

    def __init__(self, url: str) -> None:
        import fsspec

        self._shown = without_password(url.rstrip("/"))
        try:
            # Listings are remembered by default, and then do not show what other processes have written.
            self._files, self._root = fsspec.url_to_fs(url.rstrip("/"), use_listings_cache=False)
        except (ValueError, ImportError) as error:
            raise UserError(f"Parts cannot be kept at {self._shown}: {error}.") from error
        self._is_object_store = urlsplit(url).scheme in _OBJECT_STORES

    def where(self, path: str) -> str:
        """Return the URL of a file, without passwords."""
        return f"{self._shown}/{path}{_SUFFIX}"

    def exists(self, path: str) -> bool:
        """Tell whether there is a file."""
        with self._reached():
            return bool(self._files.exists(self._full(path)))

    def create(self, path: str, table: pa.Table) -> bool:
        """Write a file unless there is one; return whether it was written."""
        if self.exists(path):
            return False
        sink = pa.BufferOutputStream()
        _write(table, sink)
        data, target = sink.getvalue().to_pybytes(), self._full(path)
        with self._reached():
            try:
                if self._is_object_store:
                    # "create" is refused where somebody else was faster.
                    self._files.pipe_file(target, data, mode="create")
                else:
                    temporary = f"{posixpath.dirname(target)}/{files.TEMPORARY}{uuid.uuid4().hex}"
                    self._files.makedirs(posixpath.dirname(target), exist_ok=True)
                    self._files.pipe_file(temporary, data)
                    self._files.mv(temporary, target)
            except FileExistsError:
                return False
        return True

    def read(self, paths: Sequence[str], schema: pa.Schema) -> pa.Table:
        """Read files of one schema as one table, in order; `WarehouseError` if one is missing or damaged."""
        with ThreadPoolExecutor(min(_CONNECTIONS, max(1, len(paths))), thread_name_prefix="parts") as pool:
            tables = list(pool.map(self._read, paths, itertools.repeat(schema)))
        return pa.concat_tables(tables) if tables else schema.empty_table()

    def names(self, directory: str) -> list[str]:
        """Return the names of the files in a directory, sorted; none if it does not exist."""
        found = [name for name, kind in self._list(directory) if kind == "file" and name.endswith(_SUFFIX)]
        return sorted(name.removesuffix(_SUFFIX) for name in found if not name.startswith(files.TEMPORARY))

    def directories(self, directory: str) -> list[str]:
        """Return the names of the directories in a directory, sorted; none if it does not exist."""
        return sorted(name for name, kind in self._list(directory) if kind == "directory")

    def sweep(self) -> int:
        """Remove nothing: who wrote a temporary file, and whether they still do, is not known here."""
        return 0

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}{_SUFFIX}"

    def _list(self, directory: str) -> list[tuple[str, str]]:
        with self._reached():
            try:
                entries: list[dict[str, Any]] = self._files.ls(f"{self._root}/{directory}", detail=True)
            except FileNotFoundError:
                return []
        return [(posixpath.basename(entry["name"].rstrip("/")), entry["type"]) for entry in entries]

    def _read(self, path: str, schema: pa.Schema) -> pa.Table:
        with explained(self.where(path)):
            with self._reached(FileNotFoundError):
                data = self._files.cat_file(self._full(path))
            return read_table(pa.BufferReader(data), schema)

    @contextlib.contextmanager
    def _reached(self, *expected: type[Exception]) -> Iterator[None]:
        """Turn whatever else the library behind the URL raises (no credentials, no network) into one sentence."""
        try:
            yield
        except expected:
            raise
        except Exception as error:
            raise WarehouseError(f"The parts at {self._shown} cannot be reached: {error}.") from error
