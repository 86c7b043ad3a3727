"""The data of the views are what is drawn, and the selection's rows are those that were selected."""

from __future__ import annotations

import io

import numpy as np
import polars as pl
import pytest

from vacpanel import Dashboard, serving
from vacpanel.views.base import file_stem
from warehouse import UserError
from warehouse.predicate import Predicate

FILTERS = {
    "everything": Predicate(),
    "a few": Predicate(roots=("animal", "tool"), models=("demo:alexnet", "demo:resnet18"), min_confidence=0.3),
    "errors": Predicate(correct=False),
    "images": Predicate(images=tuple(range(0, 200, 3))),
}


@pytest.fixture(params=FILTERS)
def dashboard(demo_warehouse, request):
    dashboard = Dashboard(demo_warehouse)
    dashboard.state.param.update(model="demo:alexnet", filter=FILTERS[request.param])
    return dashboard


def _top1(frame: pl.DataFrame) -> pl.Series:
    [name] = [name for name in frame.columns if name in {"top1", "top1_error"}]
    return frame[name]


def test_scatter(dashboard):
    view = dashboard.views["scatter"]
    frame = view.data()
    found = view.tally.model_accuracy()
    assert frame["model"].to_list() == list(found["model"])
    np.testing.assert_allclose(_top1(frame).fill_null(np.nan), found["top1"])
    assert frame["images"].fill_null(0).to_list() == found["images"].tolist()


def test_radar(dashboard):
    view = dashboard.views["radar"]
    accuracy, _ = view.tally.root_accuracy()
    drawn = {
        (model, root): rate
        for model, row in zip(map(str, view.tally.models), accuracy, strict=True)
        for root, rate in zip(view.tally.roots, row, strict=True)
        if np.isfinite(rate)
    }
    frame = view.data()
    assert dict(zip(frame.select("model", "root_class").iter_rows(), _top1(frame), strict=True)) == pytest.approx(drawn)


def test_model_bars(dashboard):
    view = dashboard.views["model-bars"]
    drawn, frame = view.columns(), view.data()
    by_class = dict(zip(drawn["class_id"].tolist(), drawn["top1"].tolist(), strict=True))
    assert dict(zip(frame["class_id"], _top1(frame), strict=True)) == pytest.approx(by_class)
    assert _top1(frame).is_sorted(descending=True)


def test_root_bars(dashboard):
    view = dashboard.views["root-bars"]
    drawn, frame = view.columns(), view.data()
    end = "_error" if view.rate == "error" else ""
    for column, name in {
        "top1": "mean_top1",
        "min_top1": "min_top1",
        "max_top1": "max_top1",
        "own": "pinned_top1",
    }.items():
        expected = dict(zip(drawn["class_id"].tolist(), drawn[column].tolist(), strict=True))
        given = dict(zip(frame["class_id"], frame[name + end].fill_null(np.nan), strict=True))
        assert given == pytest.approx(expected, nan_ok=True)
    assert len(frame)


def test_classes_worth_a_look(dashboard):
    frame = dashboard.views["supplement"].data()
    spread = dashboard.views["supplement"].tally.class_spread()
    [name] = [name for name in frame.columns if name.startswith("range_")]
    expected = dict(zip(spread["class_id"].tolist(), spread["range_top1"].tolist(), strict=True))
    assert dict(zip(frame["class_id"], frame[name], strict=True)) == pytest.approx(expected)


def test_distribution(dashboard):
    view = dashboard.views["distribution"]
    layout = dashboard.warehouse.class_layout("demo:alexnet")
    assert view.data()["x"].to_list() == pytest.approx(layout["x"].tolist())
    dashboard.state.graph = "images"
    points = dashboard.warehouse.image_points("demo:alexnet", dashboard.state.filter.without("models"))
    assert sorted(view.data()["image_id"]) == sorted(points["image_id"].tolist())
    assert len(points["image_id"])


@pytest.mark.parametrize("dashboard", ["everything"], indirect=True)
def test_images_of_the_chosen_class(dashboard):
    dashboard.state.classes = [3]
    frame = dashboard.views["explanations"].data()
    assert set(frame["class_id"]) == {3}
    said = dashboard.warehouse.predictions(["demo:alexnet"], frame["image_id"].to_list())
    assert frame["correct"].to_list() == said["correct"].tolist()


@pytest.mark.parametrize("dashboard", ["a few"], indirect=True)
def test_a_saved_file_holds_the_data(dashboard):
    view = dashboard.views["radar"]
    name, mime, content = view._file("csv")
    assert (name, mime) == ("vacpanel-radar.csv", "text/csv")
    assert pl.read_csv(io.BytesIO(content)).shape == view.data().shape
    name, _, content = view._file("parquet")
    assert name == "vacpanel-radar.parquet"
    assert pl.read_parquet(io.BytesIO(content)).equals(view.data())
    assert file_stem("ModelBars") == "vacpanel-model-bars"


def test_the_selection_is_what_is_chosen_under_the_filter(dashboard):
    predictions = dashboard.warehouse.sql("FROM predictions").pl()
    condition, values = dashboard.state.filter.where()
    left = dashboard.warehouse.sql(f"SELECT * FROM predictions WHERE {condition}", values).pl()
    assert dashboard.selection.frame.equals(left.filter(model="demo:alexnet").sort("image_id", "model"))

    dashboard.state.param.update(models=["demo:alexnet", "demo:resnet18"], classes=[0, 1])
    chosen = left.filter(pl.col("model").is_in(dashboard.state.models), pl.col("class_id").is_in([0, 1]))
    assert dashboard.selection.frame.equals(chosen.sort("image_id", "model"))
    image = int(predictions.filter(class_id=1)["image_id"][0])
    dashboard.state.images = [image]
    assert dashboard.selection.relation.fetchall() == chosen.filter(image_id=image).sort("model").rows()
    assert f"image_id IN ({image})" in repr(dashboard.selection)

    dashboard.state.param.update(models=[], model="", images=[], classes=[])
    assert len(dashboard.selection.frame) == len(left)


@pytest.mark.parametrize("dashboard", ["everything"], indirect=True)
def test_explanations_come_back_as_arrays(dashboard, capsys):
    answer = dashboard.explain(["demo:alexnet", "demo:resnet18"], 5, ["grad-cam", "layer-cam"], target="true")
    assert len(answer) == 4
    assert [found.dtype for found in answer.maps] == [np.float32] * 4
    assert {found.shape for found in answer.maps} == {(96, 96)}
    assert all(found.min() == 0 and found.max() == 1 for found in answer.maps)
    assert answer.frame.select("model", "image_id", "method", "status").rows() == [
        (model, 5, method, "done")
        for method in ("grad-cam", "layer-cam")
        for model in ("demo:alexnet", "demo:resnet18")
    ]
    assert answer.frame["target_class_id"].to_list() == answer.frame["class_id"].to_list()
    for found, area in zip(answer.maps, answer.frame["roi_area"], strict=True):
        assert np.mean(found >= 0.5) == pytest.approx(area, abs=0.02)
    assert answer.similarity("ssim").diagonal() == pytest.approx(1)
    assert answer.heatmap(0).size == (192, 192)
    assert answer._repr_html_().count("<img") == 4
    assert "4.0/4" in capsys.readouterr().err


@pytest.mark.parametrize("dashboard", ["everything"], indirect=True)
def test_the_state_is_explained_where_nothing_is_given(dashboard, capsys):
    dashboard.state.param.update(models=["demo:squeezenet1_1"], images=[7], methods=["grad-cam++"])
    answer = dashboard.explain(progress=False)
    assert answer.frame.select("model", "image_id", "method").rows() == [("demo:squeezenet1_1", 7, "grad-cam++")]
    assert capsys.readouterr().err == ""
    dashboard.state.param.update(images=[])
    with pytest.raises(UserError, match="Choose a class or an image first"):
        dashboard.explain()
    with pytest.raises(UserError, match="no model 'demo:nothing'"):
        dashboard.explain("demo:nothing", 7)
    # What was given changed nothing for the views.
    assert dashboard.state.models == ["demo:squeezenet1_1"]


@pytest.mark.parametrize("dashboard", ["everything"], indirect=True)
def test_a_model_that_fails_is_told_of_and_names_are_text(dashboard, monkeypatch):
    from dataclasses import replace

    answer = dashboard.explain("demo:alexnet", 5, progress=False)
    broken = replace(
        answer._rows[0], status="failed", attention=None, error="gone", facts=answer._rows[0].facts | {"label": "<b>"}
    )
    answer = type(answer)(serving.open_warehouse(dashboard.warehouse.root), [broken])
    assert answer.maps == [None]
    assert answer.frame["error"].to_list() == ["gone"]
    assert repr(answer).startswith("<1 map, 1 failed")
    assert "&lt;b&gt;" in answer._repr_html_()
    assert "<b>" not in answer._repr_html_()
