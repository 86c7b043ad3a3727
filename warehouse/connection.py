"""How DuckDB is opened here: published files read-only and shared, files under construction alone."""

from __future__ import annotations

import contextlib
import functools
import os
from typing import TYPE_CHECKING

import duckdb

from warehouse.errors import WarehouseError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STORAGE_VERSION = "v1.0.0"
"""Oldest DuckDB whose clients can open what is published."""

_MAX_THREADS = 4
_BUILD = "generation"


def connect_read_only(path: Path) -> duckdb.DuckDBPyConnection:
    """Open a published generation.

    Connections of one process to the same file share one DuckDB instance, which they can only do if all of
    them are made with the same options: make them here.

    Raises
    ------
    FileNotFoundError
        If the file is gone: a newer generation took its place.
    WarehouseError
        If the file cannot be read.
    """
    if not path.exists():
        raise FileNotFoundError(path)
    try:
        return duckdb.connect(str(path), read_only=True, config=_options())
    except duckdb.Error as error:
        if not path.exists():
            raise FileNotFoundError(path) from error
        raise WarehouseError(f"{path} cannot be read ({error}); publish anew with `vacpanel publish`.") from error


@contextlib.contextmanager
def build_database(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open or make a database file that nobody else uses, and leave it checkpointed.

    Yields
    ------
    duckdb.DuckDBPyConnection
        Unqualified names mean the file's schema `main`.
    """
    with duckdb.connect(":memory:", config=_options() | {"temp_directory": f"{path}.spill"}) as connection:
        # DuckDB cannot take the file name of ATTACH as a parameter.
        literal = str(path).replace("'", "''")
        connection.execute(f"ATTACH '{literal}' AS {_BUILD} (STORAGE_VERSION '{STORAGE_VERSION}')")
        connection.execute(f"USE {_BUILD}")
        yield connection
        connection.execute(f"CHECKPOINT {_BUILD}")
        connection.execute("USE memory")
        connection.execute(f"DETACH {_BUILD}")


@functools.cache  # asked twice, a process that was moved to other cores would get two answers
def _options() -> dict[str, str | bool | int | float | list[str]]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {"threads": min(cores, _MAX_THREADS)}
