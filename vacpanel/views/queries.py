"""The queries behind the views: what each of them shows, in SQL that runs on the warehouse as it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from warehouse.predicate import literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from warehouse.predicate import Predicate


def rate(where: Predicate, top: str = "top1") -> str:
    """Return what a column of rates is called under a filter: a filter for wrong answers makes errors of accuracies."""
    return f"{top}_error" if where.correct is False else top


def rates(where: Predicate, *by: str, also: str = "") -> str:
    """Return the query for the rates of the predictions that a filter leaves.

    Parameters
    ----------
    where
        The filter. Its condition on right and wrong says what is counted, see `warehouse.Warehouse.tally`.
    *by
        Columns of `predictions` and `classes` by which to group.
    also
        One more condition, in SQL, if any.
    """
    right = ("NOT correct", "true_rank > 5") if where.correct is False else ("correct", "true_rank <= 5")
    shares = [
        f"avg(({condition})::INTEGER) AS {rate(where, top)}"
        for condition, top in zip(right, ("top1", "top5"), strict=True)
    ]
    columns = ", ".join([*by, "count(*) AS images", *shares])
    kept = where.without("correct")
    conditions = " AND ".join(filter(None, (kept.sql() if kept else "", also)))
    counted = f"(SELECT * FROM predictions WHERE {conditions})" if conditions else "predictions"
    return f"SELECT {columns} FROM {counted} JOIN classes USING (class_id) GROUP BY {', '.join(by)}"


def among(column: str, values: Iterable[Any]) -> str:
    """Return the condition that a column has one of some values; no value at all cannot be met."""
    written = ", ".join(map(literal, values))
    return f"{column} IN ({written})" if written else "false"
