"""What E shows: rankings, models on classes, similar maps; against SQL and Algorithm 2, without a browser."""

from __future__ import annotations

import inspect

import duckdb
import numpy as np
import pytest
from bokeh.document import Document

from etl.explain.similarity import MEASURES, similarity
from tests.vacpanel.loops import in_a_loop
from tests.vacpanel.rows import a_row, finished
from vacpanel import layers
from vacpanel.state import Selection
from vacpanel.views import supplement as module
from vacpanel.views.shown import is_shown
from vacpanel.views.similarity import KNOWN
from vacpanel.views.spread import RANKED
from vacpanel.views.supplement import MAPS, ON_CLASSES, SPREAD, Supplement
from warehouse.predicate import Predicate


@pytest.fixture
def view(opened):
    return Supplement(opened, Selection(generation=opened.generation))


@pytest.fixture
def drawn(view):
    """The view, rendered: what it patches is then the document's."""
    document = Document()
    document.add_root(view.__panel__().get_root(document))
    return view


def _sql(folder, query, *values):
    with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as connection:
        return connection.execute(query, values).fetchall()


def _shown(live):
    return {name: list(column) for name, column in live.source().data.items()}


def test_before_a_class_is_chosen_six_classes_each_are_ranked(drawn, demo_warehouse):
    shown = _shown(drawn._spread._bars)
    values = np.array(shown["right"]) - np.array(shown["left"])
    for start, by in enumerate(RANKED):
        order = _sql(demo_warehouse, f"SELECT {by} FROM class_spread ORDER BY {by}")
        expected = [value for (value,) in [*order[:3], *order[-3:]]]
        np.testing.assert_allclose(values[7 * start : 7 * start + 6], expected, atol=1e-12)
    assert np.isnan(values[6::7]).all()
    assert drawn.heading == "Classes worth a look"
    assert drawn._chooser.options == [SPREAD]


def test_of_wrong_answers_the_titles_and_the_axis_say_errors(drawn):
    def said():
        for page in (ON_CLASSES, SPREAD):
            drawn._chooser.value = page
        axis = drawn._on_classes._dots._drawn[0].figure().xaxis[0].axis_label
        return _shown(drawn._spread._titles)["text"], axis

    drawn.state.classes = [3]
    assert said() == (["Average accuracy", "Range of accuracy"], "Top-1 accuracy")
    drawn.state.filter = Predicate(correct=False)
    assert said() == (["Average error", "Range of error"], "Top-1 error")
    drawn.state.filter = Predicate()
    assert said() == (["Average accuracy", "Range of accuracy"], "Top-1 accuracy")


def test_a_tap_on_a_ranked_class_selects_it(drawn):
    drawn._spread._tapped(5)
    assert drawn.state.classes == [drawn._spread.ids[5]]
    assert drawn._chooser.value == ON_CLASSES
    assert is_shown(drawn._on_classes.panel)
    assert not is_shown(drawn._spread.panel)


def test_models_on_classes_are_those_of_sql(drawn, demo_warehouse):
    drawn.state.classes = [3, 5]
    shown = _shown(drawn._on_classes._dots)
    labels = dict(_sql(demo_warehouse, "SELECT label, model FROM models"))
    expected = {
        (model, name): top1
        for model, name, top1 in _sql(
            demo_warehouse, "SELECT model, class_name, top1 FROM class_accuracy WHERE class_id IN (3, 5)"
        )
    }
    found = zip(shown["label"], shown["class_name"], shown["x"], strict=True)
    assert {(labels[label], name): x for label, name, x in found} == expected
    means = np.array(shown["x"]).reshape(-1, 2).mean(axis=1)  # line by line, both classes of a model
    assert (np.diff(means) >= 0).all()
    assert drawn.heading == "Models on 2 classes, 4 images each"
    assert len(drawn._on_classes._legend.items) == 2


def test_the_filter_reaches_both(drawn, demo_warehouse):
    drawn.state.classes = [3]
    drawn.state.filter = Predicate(models=("demo:resnet18", "demo:alexnet"), max_confidence=0.9)
    rows = _sql(
        demo_warehouse,
        "SELECT label, avg(correct::INT) FROM predictions JOIN models USING (model) WHERE class_id = 3"
        f" AND {drawn.state.filter.sql()} GROUP BY label",
    )
    shown = _shown(drawn._on_classes._dots)
    assert dict(zip(shown["label"], shown["x"], strict=True)) == pytest.approx(dict(rows))
    before = _shown(drawn._spread._bars)
    assert not is_shown(drawn._spread.panel)
    drawn._chooser.value = SPREAD
    assert _shown(drawn._spread._bars) != before  # it was out of sight till now
    shown = {name: column[:6] for name, column in _shown(drawn._spread._bars).items()}
    means = _sql(
        demo_warehouse,
        "SELECT class_id, avg(top1) FROM (SELECT model, class_id, avg(correct::INT) AS top1 FROM predictions"
        f" WHERE {drawn.state.filter.sql()} GROUP BY ALL) GROUP BY class_id",
    )
    assert dict(zip(shown["class_id"], shown["mean_top1"], strict=True)).items() <= dict(means).items()


def test_what_changes_is_patched_not_drawn_again(drawn):
    drawn.state.classes = [3]
    panes = [*drawn._spread.panel, *drawn._on_classes.panel]
    sources = [drawn._on_classes._dots.source(), drawn._spread._bars.source()]
    for changes in ({"classes": [9]}, {"classes": [1, 2]}, {"filter": Predicate(correct=False)}, {"classes": []}):
        drawn.state.param.update(**changes)
    assert [*drawn._spread.panel, *drawn._on_classes.panel] == panes
    assert [drawn._on_classes._dots.source(), drawn._spread._bars.source()] == sources


def test_a_tap_on_a_dot_pins_the_model(drawn):
    drawn.state.classes = [3]
    shown = _shown(drawn._on_classes._dots)
    drawn._on_classes._tapped(4)
    assert drawn.warehouse.model_row(drawn.state.model).label == shown["label"][4]
    assert _shown(drawn._on_classes._dots)["size"][4] > shown["size"][4]


def test_classes_that_the_filter_empties_are_said_to_be_empty(view):
    view.state.param.update(classes=[3], filter=Predicate(min_confidence=2.0))
    assert view.heading == "The selected class has no images that the filter leaves"


@pytest.fixture
def compared(view, opened):
    view.controller.rows = [finished(a_row(opened, f"demo:{name}")) for name in ("resnet18", "alexnet", "resnet50")]
    return view


def test_the_matrix_is_algorithm_2_on_the_maps_as_the_models_saw_the_image(compared):
    maps = np.stack([layers.at_size(row.attention, (96, 96)) for row in compared.controller.rows])
    assert compared.heading == "Comparison of the models"
    assert compared._chooser.value == MAPS
    for measure in MEASURES:
        compared.state.measure = measure
        np.testing.assert_allclose(compared._matrix.values, similarity(maps, measure), atol=1e-5)
        assert compared._matrix.measure == measure
    assert compared._matrix.labels == ["resnet18", "alexnet", "resnet50"]
    assert len(compared._matrix.pictures) == 3


def test_the_measure_can_be_chosen_in_the_view(compared):
    compared._matrix.measure = "ssim"
    assert compared.state.measure == "ssim"
    np.testing.assert_allclose(np.diag(compared._matrix.values), 1)


def test_methods_of_one_model_are_compared_by_name(view, opened):
    view.controller.rows = [finished(a_row(opened, method=method)) for method in ("grad-cam", "layer-cam")]
    assert view._matrix.labels == ["Grad-CAM", "LayerCAM"]
    assert view.heading == "Comparison of the methods"


def test_rows_of_several_images_are_not_compared(view, opened):
    view.controller.rows = [finished(a_row(opened, image_id=image_id)) for image_id in (7, 8)]
    assert view._matrix.labels == []
    assert view._chooser.options == [SPREAD]


def test_a_new_selection_puts_the_comparison_away(compared):
    compared.controller.rows = []
    assert compared._chooser.value == SPREAD
    assert compared._matrix.labels == []


def test_large_comparisons_are_made_beside_the_event_loop(view, opened, monkeypatch):
    monkeypatch.setattr(module, "AT_ONCE", 1)
    waiting = []

    def execute(work, **_):
        waiting.append(work) if inspect.iscoroutinefunction(work) else work()

    monkeypatch.setattr(module.pn.state, "execute", execute)
    view.controller.rows = [finished(a_row(opened, f"demo:{name}")) for name in ("resnet18", "alexnet")]
    view.state.measure = "mse"
    assert view._matrix.labels == []
    for later in waiting:
        in_a_loop(later())
    assert (view._matrix.measure, len(view._matrix.values)) == ("mse", 2)
    maps = np.stack([layers.at_size(row.attention, (96, 96)) for row in view.controller.rows])
    np.testing.assert_allclose(view._matrix.values, similarity(maps, "mse"), atol=1e-5)


def test_what_the_page_says_of_measures_is_what_they_are():
    assert [entry["name"] for entry in KNOWN] == list(MEASURES)
    for entry in KNOWN:
        assert (entry["title"], entry["best"]) == (MEASURES[entry["name"]].title, MEASURES[entry["name"]].best)
