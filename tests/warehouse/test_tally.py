"""Counts against the SQL that they stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from warehouse.predicate import Predicate

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pytest

    from warehouse.store import Warehouse

MODELS = ("demo:net0", "demo:net1", "demo:net2", "nobody's")
ROOTS = ("animal", "plant", "tool's", "nothing")
COUNTED = ("correct", "correct_top5")
BOUNDS = st.none() | st.floats(0, 1) | st.integers(0, 100).map(lambda percent: percent / 100)
PREDICATES = st.builds(
    Predicate,
    models=st.sets(st.sampled_from(MODELS)).map(tuple),
    roots=st.sets(st.sampled_from(ROOTS)).map(tuple),
    classes=st.sets(st.integers(0, 8)).map(tuple),
    images=st.sets(st.integers(0, 60), max_size=20).map(tuple),
    correct=st.none() | st.booleans(),
    min_confidence=BOUNDS,
    max_confidence=BOUNDS,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PREDICATES)
def test_every_number_is_what_sql_says(w: Warehouse, where: Predicate) -> None:
    condition, values = where.without("correct").where()
    source = f"(SELECT * FROM predictions WHERE {condition}) AS p JOIN classes USING (class_id)"
    top1_, top5_ = (f"avg(({'NOT ' if where.correct is False else ''}{name})::INTEGER)" for name in COUNTED)
    rates = f"count(*), {top1_}, {top5_}"
    tally = w.tally(where)

    def sql(query: str) -> list[tuple[object, ...]]:
        return _rounded(w.sql(query, values).fetchall())

    of_models = tally.model_accuracy()
    seen = of_models["images"] > 0
    assert _rows(of_models, ("model", "images", "top1", "top5"), seen) == sql(
        f"SELECT model, {rates} FROM {source} GROUP BY ALL ORDER BY ALL"
    )
    top1, images = tally.root_accuracy()
    expected = np.full(top1.shape, np.nan)
    for model, root, rate in sql(f"SELECT model, root_class, {top1_} FROM {source} GROUP BY ALL"):
        expected[tally.row(str(model)), tally.roots.index(str(root))] = rate
    np.testing.assert_allclose(top1, expected)
    most = f"SELECT root_class, count(*) AS n FROM {source} GROUP BY root_class, model"
    counted = dict(sql(f"SELECT root_class, max(n) FROM ({most}) GROUP BY ALL"))
    assert images.tolist() == [counted.get(root, 0) for root in tally.roots]
    for model in w.models()["model"]:
        ours = tally.class_accuracy(model)
        query = (
            f"SELECT class_id, class_name, {rates} FROM {source} WHERE model = '{model}'"
            f" GROUP BY ALL ORDER BY {top1_} DESC, class_id"
        )
        assert _rows(ours, ("class_id", "class_name", "images", "top1", "top5")) == sql(query)
    for root in (None, "tool's"):
        wanted = "true" if root is None else "root_class = 'tool''s'"
        query = (
            "SELECT class_id, max(n), count(*), min(rate), max(rate), max(rate) - min(rate), avg(rate) FROM"
            f" (SELECT class_id, count(*) AS n, {top1_} AS rate FROM {source} WHERE {wanted}"
            " GROUP BY class_id, model) GROUP BY class_id ORDER BY class_id"
        )
        names = ("class_id", "images", "models", "min_top1", "max_top1", "range_top1", "mean_top1")
        assert _rows(tally.class_spread(root), names) == sql(query)
    query = f"SELECT model, {rates} FROM {source} WHERE class_id = 1 GROUP BY ALL ORDER BY model"
    assert _rows(tally.on_class(1), ("model", "images", "top1", "top5")) == sql(query)


def _rows(
    columns: dict[str, np.ndarray], names: tuple[str, ...], keep: np.ndarray | None = None
) -> list[tuple[object, ...]]:
    picked = [columns[name] if keep is None else columns[name][keep] for name in names]
    return _rounded(zip(*(column.tolist() for column in picked), strict=True))


def _rounded(rows: Iterable[tuple[object, ...]]) -> list[tuple[object, ...]]:
    return [tuple(round(value, 9) if isinstance(value, float) else value for value in row) for row in rows]


def test_an_answer_is_counted_once(w: Warehouse) -> None:
    where = Predicate(roots=("plant",), min_confidence=0.5)
    assert w.tally(where) is w.tally(where)


def test_a_newer_generation_is_counted_anew(w: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    before = w.tally()
    monkeypatch.setattr(w, "_generation", w.generation + 1)
    assert w.tally() is not before


def test_it_agrees_with_the_published_tables(w: Warehouse) -> None:
    tally = w.tally()
    ours = tally.class_spread()
    table = w.sql("SELECT * FROM class_spread ORDER BY class_id").fetchnumpy()
    for name in ("class_id", "models", "min_top1", "max_top1", "range_top1", "mean_top1"):
        np.testing.assert_allclose(ours[name], table[name])
