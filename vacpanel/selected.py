"""The rows behind a selection: what a person chose in the dashboard, as a frame and as a relation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vacpanel.words import count
from warehouse.predicate import EVERYTHING, Predicate

if TYPE_CHECKING:
    import duckdb
    import polars as pl

    from vacpanel.state import Selection
    from warehouse import Warehouse


class SelectedRows:
    """The predictions that are selected at the moment when they are asked for.

    Those that the filter leaves; of them those by the compared models, else by the pinned one; of them those on the
    selected images, else on images of the selected classes. What is not chosen does not restrict.

    Parameters
    ----------
    warehouse
        The open warehouse.
    state
        The selection.

    Examples
    --------
    >>> dashboard.selection.frame.group_by("correct").len()  # doctest: +SKIP
    >>> dashboard.selection.relation.aggregate("avg(confidence)")  # doctest: +SKIP
    """

    def __init__(self, warehouse: Warehouse, state: Selection) -> None:
        self.warehouse, self.state = warehouse, state

    def __repr__(self) -> str:
        [(rows,)] = self.relation.aggregate("count(*)").fetchall()
        return f"<{count(rows, 'prediction')}: {self.sql}>"

    @property
    def sql(self) -> str:
        """The query for these rows; it runs on the warehouse with any DuckDB client."""
        conditions = [part.sql() for part in (self.state.filter, self._chosen()) if part]
        return f"SELECT * FROM predictions WHERE {' AND '.join(conditions) or EVERYTHING.sql()}"

    @property
    def relation(self) -> duckdb.DuckDBPyRelation:
        """The rows as a DuckDB relation: to filter, join and aggregate further before anything is read."""
        return self.warehouse.sql(self.sql)

    @property
    def frame(self) -> pl.DataFrame:
        """The rows as a polars frame, by image and model."""
        return self.relation.order("image_id, model").pl()

    def _chosen(self) -> Predicate:
        """Return what is chosen beside the filter."""
        state = self.state
        return Predicate(
            models=tuple(state.models or ([state.model] if state.model else [])),
            images=tuple(state.images),
            classes=() if state.images else tuple(state.classes),
        )
