"""Reading published generations: which one answers, and one connection per call."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np

from warehouse.connection import connect_read_only
from warehouse.errors import WarehouseError
from warehouse.folder import Folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import duckdb
    from numpy.typing import NDArray

Columns: TypeAlias = "dict[str, NDArray[Any]]"
"""A table as NumPy arrays of equal length by column name.

Text is of dtype object, None where missing. A column of numbers with missing ones is float64 with NaN there.
"""

_OPEN_ATTEMPTS = 20


class Reader:
    """A published warehouse, read-only, without opinions on what to ask it.

    It answers from one generation until `refresh` moves it to a newer one. All methods may be called from any
    thread.

    Parameters
    ----------
    path
        The folder of the warehouse, or the `warehouse.duckdb` in it.

    Raises
    ------
    WarehouseError
        If there is no warehouse, or nothing was published yet.
    """

    def __init__(self, path: str | Path) -> None:
        self._folder = Folder.at(path)
        self._lock = threading.Lock()
        self._connection: duckdb.DuckDBPyConnection | None
        self._connection, self._generation = _open_current(self._folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.root)!r}, generation={self._generation})"

    @property
    def root(self) -> Path:
        """The folder of the warehouse, absolute."""
        return self._folder.root

    @property
    def path(self) -> Path:
        """The file that any DuckDB client may open."""
        return self._folder.published

    @property
    def folder(self) -> Folder:
        """Where everything lies."""
        return self._folder

    @property
    def generation(self) -> int:
        """Number of the generation that answers."""
        return self._generation

    def refresh(self) -> bool:
        """Move to the newest generation; return whether there was a newer one. Costs one `readlink` when not.

        Queries that run and relations that were handed out stay with the generation that they began with.
        """
        while self._folder.current_generation() not in {self._generation, None}:
            connection, generation = _open_current(self._folder)
            with self._lock:
                # Somebody may have published or refreshed meanwhile: never move back to an older generation.
                if self._connection is not None and self._folder.current_generation() == generation:
                    # The one before is not closed, other threads may be using it: it goes with its last cursor.
                    self._connection, self._generation = connection, generation
                    return True
                closed = self._connection is None
            connection.close()
            if closed:
                break
        return False

    def close(self) -> None:
        """Close the warehouse; nothing can be asked afterwards."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def sql(self, query: str, params: Sequence[Any] | dict[str, Any] | None = None) -> duckdb.DuckDBPyRelation:
        """Run a query on the relations of the warehouse.

        Parameters
        ----------
        query
            SQL, with `?` or `$name` where values go.
        params
            The values; never write them into the text by hand.

        Returns
        -------
        duckdb.DuckDBPyRelation
            Independent of further calls; `.fetchall()`, `.fetchnumpy()`, `.pl()`, `.df()` or `.to_arrow_table()` read
            it.

        Raises
        ------
        WarehouseError
            If the warehouse was closed.
        duckdb.Error
            If the query is wrong.
        """
        return self._cursor().sql(query, params=params)

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        """Return a connection for one caller: shared between threads, it mixes up their results."""
        with self._lock:
            if self._connection is None:
                raise WarehouseError(f"The warehouse {self.root} was closed.")
            return self._connection.cursor()

    @contextlib.contextmanager
    def _query(self, query: str, params: Sequence[Any] | None) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._cursor() as cursor:
            yield cursor.execute(query, params)

    def _columns(self, query: str, params: Sequence[Any] | None = None) -> Columns:
        with self._query(query, params) as result:
            return {name: _plain(column) for name, column in result.fetchnumpy().items()}

    def _row(self, query: str, params: Sequence[Any] | None = None) -> Any:
        with self._query(query, params) as result:
            return result.fetchone()


def _open_current(folder: Folder) -> tuple[duckdb.DuckDBPyConnection, int]:
    for _ in range(_OPEN_ATTEMPTS):
        number = folder.current_generation()
        if number is None:
            break
        try:
            return connect_read_only(folder.generation_file(number)), number
        except FileNotFoundError:
            continue  # two generations were published between reading the link and opening the file
    raise WarehouseError(f"Nothing is published in {folder.root}: run `vacpanel publish {folder.root}`.")


def _plain(column: NDArray[Any]) -> NDArray[Any]:
    """Return a column without mask: NaN or None where a value is missing."""
    if not isinstance(column, np.ma.MaskedArray):
        return column
    mask = np.ma.getmaskarray(column)
    if not mask.any():
        return column.data
    plain = column.data.astype(object if column.dtype == object else np.float64)
    plain[mask] = None if column.dtype == object else np.nan
    return plain
