"""A selection made anywhere reaches every view: after any sequence of them, what the page has is what SQL says.

The views are drawn once, in one document; each sequence goes through the views' own handlers and starts with Reset.
Numbers are read from the document, as a browser gets them.
"""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.vacpanel.cross_filter.actions import STEPS, choose_accuracy, choose_second
from tests.vacpanel.cross_filter.screen import Screen
from tests.vacpanel.cross_filter.truth import (
    Truth,
    check_explanations,
    check_filter_bar,
    check_graph,
    check_model_bars,
    check_radar,
    check_root_bars,
    check_scatter,
    check_supplement,
    check_words,
)
from vacpanel.state import URL_KEYS
from vacpanel.views.image_graph import ImageGraph
from warehouse.predicate import Predicate

SEQUENCES = 1000


@pytest.fixture(scope="module")
def screen(demo_warehouse):
    with pytest.MonkeyPatch.context() as patch:
        # As on a server: the strip gets addresses of its pictures, not their contents.
        patch.setattr("vacpanel.media._served", True)
        yield Screen(demo_warehouse)


@pytest.fixture(scope="module")
def truth(demo_warehouse):
    return Truth(demo_warehouse)


@pytest.fixture(autouse=True)
def _no_leftovers():
    """Leave the warehouse open: these tests share one dashboard."""


@pytest.fixture(scope="module", autouse=True)
def _closed():
    yield
    from vacpanel import serving

    serving.close_all()


STEP = st.tuples(st.sampled_from(STEPS), st.lists(st.integers(0, 999), min_size=1, max_size=5))


@pytest.mark.slow
@pytest.mark.timeout(900)  # some 100 s where nothing else runs
@settings(
    max_examples=SEQUENCES,
    deadline=None,
    database=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
@given(sequence=st.lists(STEP, min_size=1, max_size=3))
def test_after_any_sequence_of_selections_every_view_shows_what_sql_says(screen, truth, sequence):
    screen.dashboard.reset()
    now = screen.everything()
    assert [part for part, shown in now.items() if shown != screen.start[part]] == []
    for step, picks in sequence:
        expected = {name: getattr(screen.state, name) for name in URL_KEYS}
        for name, value in step(screen, picks).items():
            of, _, condition = name.partition(".")
            expected[of] = dataclasses.replace(expected[of], **{condition: value}) if condition else value
        assert {name: getattr(screen.state, name) for name in URL_KEYS} == expected
    check_scatter(screen, truth)
    check_radar(screen, truth)
    check_model_bars(screen, truth)
    check_root_bars(screen, truth)
    check_graph(screen, truth)
    check_supplement(screen, truth)
    check_explanations(screen, truth)
    check_filter_bar(screen, truth)
    check_words(screen)


@pytest.mark.slow
@settings(
    max_examples=15, deadline=None, database=None, report_multiple_bugs=False, suppress_health_check=list(HealthCheck)
)
@given(
    sequence=st.lists(STEP, max_size=2),
    axis=st.sampled_from(["top1", "top5"]),
    second=st.sampled_from(range(14)),
)
def test_other_axes_and_a_second_graph_show_what_sql_says(screen, truth, sequence, axis, second):
    screen.dashboard.reset()
    choose_second(screen, [second])
    choose_accuracy(screen, [axis == "top5"])
    for step, picks in sequence:
        step(screen, picks)
    check_scatter(screen, truth)
    check_graph(screen, truth)
    check_words(screen)


FILTERS = st.builds(
    Predicate,
    models=st.lists(st.sampled_from(["demo:resnet18", "demo:alexnet", "demo:densenet169"]), max_size=2).map(tuple),
    roots=st.lists(st.sampled_from(["animal", "tool", "vehicle"]), max_size=2).map(tuple),
    classes=st.lists(st.integers(0, 63), max_size=30).map(tuple),
    images=st.lists(st.integers(0, 255), max_size=60).map(tuple),
    correct=st.sampled_from([None, True, False]),
    min_confidence=st.sampled_from([None, 0.1, 0.5]),
    max_confidence=st.sampled_from([None, 0.4, 0.9]),
)


@settings(max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(filter_=FILTERS, model=st.sampled_from(["", "demo:resnet18", "demo:alexnet", "demo:resnet152"]))
def test_the_graph_of_images_holds_those_that_sql_finds(screen, truth, image_graph, filter_, model):
    where = filter_.without("models") if model else filter_
    said = image_graph.show(model, where)
    expected = truth.ask(
        "SELECT model, image_id, class_id FROM predictions"
        f" WHERE ('{model}' = '' OR model = '{model}') AND {where.sql()} ORDER BY ALL"
    )
    points = image_graph._points
    found = zip(
        [screen.models[i] for i in points["model_id"]],
        points["image_id"],
        points["class_id"],
        points["root"],
        strict=True,
    )
    roots = dict(truth.ask("SELECT class_id, root_class FROM classes"))
    assert sorted(found) == [(*row, screen.roots.index(roots[row[-1]])) for row in expected]
    assert said.replace("\N{THIN SPACE}", "").split()[0] == str(len(expected))


@pytest.fixture(scope="module")
def image_graph(screen):
    graph = ImageGraph(screen.dashboard.warehouse, lambda *_: None, lambda _: None)
    graph._paint = lambda: None
    return graph
