"""What there is to ask: the relations that people query, as their comments in the database tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from warehouse.reader import Reader

_RELATIONS = """
SELECT table_name AS relation, comment FROM duckdb_tables() WHERE schema_name = 'main' AND NOT internal
UNION ALL
SELECT view_name, comment FROM duckdb_views() WHERE schema_name = 'main' AND NOT internal
ORDER BY relation
"""

_COLUMNS = """
SELECT table_name, column_name, data_type, comment FROM duckdb_columns()
WHERE schema_name = 'main' AND NOT internal ORDER BY table_name, column_index
"""


@dataclass(frozen=True)
class Column:
    """A column of a relation.

    Attributes
    ----------
    name
        Its name.
    type
        Its type in DuckDB's words.
    comment
        What it means; empty if nobody said.
    """

    name: str
    type: str
    comment: str


@dataclass(frozen=True)
class Relation:
    """A table or view that people query.

    Attributes
    ----------
    name
        Its name.
    comment
        What a row of it is; empty if nobody said.
    columns
        Its columns, in order.
    """

    name: str
    comment: str
    columns: tuple[Column, ...]


def relations(opened: Reader) -> list[Relation]:
    """List the relations of a warehouse in alphabetical order.

    Parameters
    ----------
    opened
        The warehouse.
    """
    columns: dict[str, list[Column]] = {}
    for relation, name, kind, comment in opened.sql(_COLUMNS).fetchall():
        columns.setdefault(relation, []).append(Column(name, kind, comment or ""))
    return [Relation(name, comment or "", tuple(columns[name])) for name, comment in opened.sql(_RELATIONS).fetchall()]
