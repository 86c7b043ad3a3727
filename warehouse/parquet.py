"""Parquet files with a fixed schema: checked when written, clear about damage when read."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from warehouse import files
from warehouse.errors import WarehouseError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")


def conform(table: pa.Table, schema: pa.Schema, what: str) -> pa.Table:
    """Return `table` with the columns of `schema` in its order, or say what is wrong.

    Raises
    ------
    ValueError
        If a column is missing, unknown, of another type, or lacks values that it must have.
    """
    missing = [name for name in schema.names if name not in table.column_names]
    unknown = [name for name in table.column_names if name not in schema.names]
    if missing or unknown or len(table.column_names) != len(schema.names):
        raise ValueError(f"{what}: the columns must be {schema.names}; missing {missing}, unknown {unknown}.")
    for field in schema:
        column = table.column(field.name)
        if column.type != field.type:
            raise ValueError(f"{what}: column {field.name!r} must be {field.type}, it is {column.type}.")
        if not field.nullable and column.null_count:
            raise ValueError(f"{what}: column {field.name!r} lacks {column.null_count} of {len(column)} values.")
    return table.select(schema.names).cast(schema)


def read_tables(paths: Sequence[Path], schema: pa.Schema) -> pa.Table:
    """Read files of one schema as one table, in order.

    Raises
    ------
    WarehouseError
        If a file does not exist or is damaged.
    """
    tables = []
    for path in paths:
        # A memory map keeps file names with any character in them out of path and URI parsing.
        with explained(str(path)), pa.memory_map(str(path)) as source:
            tables.append(read_table(source, schema))
    return pa.concat_tables(tables) if tables else schema.empty_table()


def read_table(source: pa.NativeFile, schema: pa.Schema) -> pa.Table:
    """Read one open file."""
    return pq.ParquetFile(source).read(use_threads=False).cast(schema)


@contextlib.contextmanager
def explained(where: str) -> Iterator[None]:
    """Say what to do about a file that is missing or damaged.

    Raises
    ------
    WarehouseError
        Instead of the error that says so.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise WarehouseError(f"The warehouse lacks {where}; run `vacpanel etl` again to compute it.") from error
    except (OSError, ValueError) as error:
        raise WarehouseError(
            f"{where} is damaged ({error}); delete it and run `vacpanel etl` again to compute it anew."
        ) from error


def names_in(directory: Path) -> list[str]:
    """Return the names of the complete files in a directory, sorted; none if it does not exist."""
    if not directory.is_dir():
        return []
    return sorted(path.stem for path in directory.glob("*.parquet") if not path.name.startswith(files.TEMPORARY))


def sweep(directory: Path, pattern: str) -> int:
    """Remove temporary files in a directory whose writers are gone; return how many.

    Parameters
    ----------
    directory
        Where to look.
    pattern
        `**` to look into all directories below as well, `.` not to.
    """
    removed = 0
    for path in directory.glob(f"{pattern}/{files.TEMPORARY}*"):
        if files.is_abandoned(path):
            path.unlink(missing_ok=True)
            removed += 1
    return removed


def check_kind(kind: str, schemas: Mapping[str, pa.Schema]) -> None:
    """Raise `ValueError` if there is no schema for this kind."""
    if kind not in schemas:
        raise ValueError(f"There is no kind {kind!r}; the kinds are {', '.join(schemas)}.")


def safe_name(name: str) -> str:
    """Return `name` if it is a plain file name, that leads nowhere else; raise `ValueError` if not."""
    if not _SAFE_NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot name a part: use letters, digits and . _ + -, not starting with a sign.")
    return name
