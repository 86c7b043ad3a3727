"""Units of work and results derived from them: small Parquet files whose existence means "done"."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from warehouse import files
from warehouse.errors import WarehouseError
from warehouse.parquet import check_kind, conform, names_in, read_tables, safe_name, sweep
from warehouse.schema import DERIVED_SCHEMAS, PART_SCHEMAS
from warehouse.storage import storage_at

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from warehouse.folder import Folder

_INPUTS = b"vacpanel.inputs"


class PartStore:
    """The immutable parts of a warehouse, `<kind>/<scope>/<name>.parquet`.

    A part appears under its name complete and on the disk, or not at all, and never changes afterwards. Any
    number of threads, processes and, where all see the same storage, machines may write and read at once.

    Parameters
    ----------
    folder
        The warehouse, which says where its parts lie; or that place itself, a path or URL.
    """

    def __init__(self, folder: Folder | str) -> None:
        self.location = folder if isinstance(folder, str) else str(folder.parts_location)
        self._storage = storage_at(self.location)

    def where(self, kind: str, scope: str, name: str) -> str:
        """Return the path or URL of a part, for people.

        Raises
        ------
        ValueError
            If `kind` is unknown, or `scope` or `name` is no plain file name.
        """
        return self._storage.where(_path(kind, scope, name))

    def exists(self, kind: str, scope: str, name: str) -> bool:
        """Tell whether the part is done."""
        return self._storage.exists(_path(kind, scope, name))

    def write(self, kind: str, scope: str, name: str, table: pa.Table) -> bool:
        """Add a part; an existing one wins.

        Parameters
        ----------
        kind
            A key of `PART_SCHEMAS`.
        scope
            The model's key, or `_` for what belongs to no model.
        name
            The name of the shard, of the model, or `table`.
        table
            Columns exactly as `PART_SCHEMAS[kind]` says; their order does not matter.

        Returns
        -------
        bool
            Whether the part was written; False when it existed.

        Raises
        ------
        ValueError
            If the table does not have the columns of its kind.
        """
        path = _path(kind, scope, name)
        checked = conform(table, PART_SCHEMAS[kind], f"Part {path}")
        if kind == "classes":
            _check_class_ids(checked)
        return self._storage.create(path, checked)

    def read(self, kind: str, scope: str, name: str) -> pa.Table:
        """Read one part.

        Raises
        ------
        WarehouseError
            If it does not exist or is damaged.
        """
        return self.read_many(kind, scope, [name])

    def read_many(self, kind: str, scope: str, names: Sequence[str]) -> pa.Table:
        """Read several parts of one scope as one table, in the order of `names`; no names give no rows."""
        check_kind(kind, PART_SCHEMAS)
        return self._storage.read([_path(kind, scope, name) for name in names], PART_SCHEMAS[kind])

    def names(self, kind: str, scope: str) -> list[str]:
        """Return the names of the parts of one scope, sorted."""
        check_kind(kind, PART_SCHEMAS)
        return self._storage.names(f"{kind}/{safe_name(scope)}")

    def scopes(self, kind: str) -> list[str]:
        """Return the scopes that have parts of this kind, sorted."""
        check_kind(kind, PART_SCHEMAS)
        return [scope for scope in self._storage.directories(kind) if self._storage.names(f"{kind}/{scope}")]

    def sweep(self) -> int:
        """Remove what killed writers left behind; return how many files.

        A temporary file whose writer still runs on this machine is left alone, so an ETL may sweep while
        another one works.
        """
        return self._storage.sweep()


class DerivedStore:
    """The replaceable results of a warehouse, `derived/<kind>/<name>.parquet`.

    Each file carries a fingerprint of what it was computed from, so a result is computed anew only when that
    changed.

    Parameters
    ----------
    folder
        The warehouse.
    """

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    def path(self, kind: str, name: str) -> Path:
        """Return where the result lies, or would lie; `ValueError` as for `PartStore.path`."""
        check_kind(kind, DERIVED_SCHEMAS)
        return self.folder.derived / kind / f"{safe_name(name)}.parquet"

    def inputs(self, kind: str, name: str) -> str | None:
        """Return the fingerprint of what the result was computed from, or None without a readable result."""
        try:
            metadata = pq.read_schema(self.path(kind, name)).metadata or {}
        except (OSError, pa.ArrowInvalid):
            return None
        value = metadata.get(_INPUTS)
        return None if value is None else value.decode()

    def fresh(self, kind: str, name: str, inputs: str) -> bool:
        """Tell whether there is a result computed from exactly these inputs."""
        return self.inputs(kind, name) == inputs

    def write(self, kind: str, name: str, table: pa.Table, inputs: str) -> None:
        """Store a result in place of the one before.

        Parameters
        ----------
        kind
            A key of `DERIVED_SCHEMAS`.
        name
            The model's key or the run's id.
        table
            Columns exactly as `DERIVED_SCHEMAS[kind]` says; their order does not matter.
        inputs
            Fingerprint of what the result was computed from.

        Raises
        ------
        ValueError
            If the table does not have the columns of its kind.
        WarehouseError
            If the disk cannot be written.
        """
        path = self.path(kind, name)
        checked = conform(table, DERIVED_SCHEMAS[kind], f"Derived {kind}/{name}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with files.temporary_path(path) as temporary:
                metadata = {_INPUTS: inputs.encode()}
                pq.write_table(checked.replace_schema_metadata(metadata), temporary, compression="zstd")
                files.replace(temporary, path)
        except OSError as error:  # a full disk, most often
            raise WarehouseError(f"Cannot write {path}: {error.strerror or error}.") from error

    def sweep(self) -> int:
        """Remove what killed writers left behind, here and in the warehouse's folder; return how many files."""
        return sweep(self.folder.derived, "**") + sweep(self.folder.root, ".")

    def read(self, kind: str, name: str) -> pa.Table:
        """Read one result.

        Raises
        ------
        WarehouseError
            If it does not exist or is damaged.
        """
        return read_tables([self.path(kind, name)], DERIVED_SCHEMAS[kind])

    def names(self, kind: str) -> list[str]:
        """Return the names of the results of this kind, sorted."""
        check_kind(kind, DERIVED_SCHEMAS)
        return names_in(self.folder.derived / kind)


def _path(kind: str, scope: str, name: str) -> str:
    check_kind(kind, PART_SCHEMAS)
    return f"{kind}/{safe_name(scope)}/{safe_name(name)}"


def _check_class_ids(table: pa.Table) -> None:
    ids = table.column("class_id").to_numpy()
    if not np.array_equal(ids, np.arange(len(ids))):
        raise ValueError("The class table must list the class ids 0, 1, 2, ... in this order, without gaps.")
