from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from warehouse.predicate import Predicate

if TYPE_CHECKING:
    from conftest import Sample

    from warehouse.store import Warehouse

MODELS = ["demo:net0", "demo:net1", "demo:net2", "o'x\"; --", ""]
ROOTS = ["animal", "plant", "tool's", "unknown"]
BOUNDS = st.none() | st.floats(0, 1) | st.sampled_from([0.1, 0.5, float("inf"), float("-inf")])

predicates = st.builds(
    Predicate,
    models=st.lists(st.sampled_from(MODELS), max_size=3).map(tuple),
    roots=st.lists(st.sampled_from(ROOTS), max_size=2).map(tuple),
    classes=st.lists(st.integers(-1, 8), max_size=4).map(tuple),
    images=st.lists(st.integers(-1, 60), max_size=40).map(tuple),
    correct=st.none() | st.booleans(),
    min_confidence=BOUNDS,
    max_confidence=BOUNDS,
)


def by_polars(rows: pl.DataFrame, predicate: Predicate) -> list[tuple]:
    for column, members in (
        ("model", predicate.models),
        ("root_class", predicate.roots),
        ("class_id", predicate.classes),
        ("image_id", predicate.images),
    ):
        if members:
            rows = rows.filter(pl.col(column).is_in(list(members)))
    if predicate.correct is not None:
        rows = rows.filter(pl.col("correct") == predicate.correct)
    if predicate.min_confidence is not None:
        rows = rows.filter(pl.col("confidence").cast(pl.Float64) >= predicate.min_confidence)
    if predicate.max_confidence is not None:
        rows = rows.filter(pl.col("confidence").cast(pl.Float64) <= predicate.max_confidence)
    return sorted(rows.select("model", "image_id").rows())


@pytest.fixture(scope="module")
def rows(w: Warehouse) -> pl.DataFrame:
    return w.sql("SELECT p.*, root_class FROM predictions AS p JOIN classes USING (class_id)").pl()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(predicate=predicates)
def test_sql_means_what_it_says(w: Warehouse, rows: pl.DataFrame, predicate: Predicate) -> None:
    text, values = predicate.where()
    query = "SELECT model, image_id FROM predictions WHERE "
    marked = sorted(w.sql(query + text, values).fetchall())
    assert marked == by_polars(rows, predicate)
    assert sorted(w.sql(query + predicate.sql()).fetchall()) == marked
    assert text.count("?") == len(values)


@given(st.data())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bounds_are_inclusive_and_exact(w: Warehouse, rows: pl.DataFrame, data: st.DataObject) -> None:
    bound = data.draw(st.sampled_from(rows["confidence"].to_list()))
    predicate = Predicate(min_confidence=bound, max_confidence=bound)
    found = w.sql("SELECT confidence FROM predictions WHERE " + predicate.sql()).fetchall()
    assert found
    assert set(found) == {(bound,)}


@given(st.text())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_only_text(w: Warehouse, name: str) -> None:
    predicate = Predicate(models=(name,), roots=(name,))
    text, values = predicate.where()
    assert w.sql("FROM predictions WHERE " + text, values).fetchall() == []
    if "\0" not in name and not any("\ud800" <= c <= "\udfff" for c in name):
        assert w.sql("FROM predictions WHERE " + predicate.sql()).fetchall() == []


def test_nothing_restricted_means_everything(w: Warehouse, sample: Sample) -> None:
    assert not Predicate()
    assert Predicate().where() == ("true", [])
    assert Predicate(correct=False)
    count = w.sql(f"SELECT count(*) FROM predictions WHERE {Predicate().sql()}").fetchall()
    assert count == [(3 * len(sample.seen),)]


def test_readable() -> None:
    predicate = Predicate(models=("demo:a'b",), classes=(3, 5), correct=True, min_confidence=0.5)
    assert predicate.sql() == (
        "model IN ('demo:a''b') AND class_id IN (3, 5) AND correct AND confidence >= '0.5'::DOUBLE"
    )
    assert hash(predicate) == hash(Predicate(("demo:a'b",), (), (3, 5), (), True, 0.5))


def test_nan_bounds_are_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        Predicate(max_confidence=float("nan"))
