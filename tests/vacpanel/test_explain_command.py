"""What ``vacpanel explain`` writes, against the maps themselves."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import warehouse
from etl.explain import similarity
from etl.explain.histogram import colour_histogram
from etl.explain.postprocess import CONSTANT
from vacpanel import render
from vacpanel.explain_command import PAPER, Question, explain_image
from vacpanel.explain_files import Explained, Look, write_all, write_one
from warehouse.errors import UserError

MODELS = ("demo:resnet18", "demo:alexnet")
METHODS = ("grad-cam", "grad-cam++")


def table(file):
    with file.open(newline="", encoding="utf-8") as opened:
        return list(csv.reader(opened))


@pytest.fixture(scope="module")
def written(demo_warehouse, tmp_path_factory):
    """One image explained by two models with two methods at a threshold of 0.3."""
    out = tmp_path_factory.mktemp("explained")
    shares = []
    question = Question(MODELS, "3", METHODS, look=Look(0.3, (0.4, 0.6), "mse"))
    results = explain_image(demo_warehouse, question, out, shares.append)
    return out, results, shares


@pytest.fixture(scope="module")
def stem(demo_warehouse):
    with warehouse.open(demo_warehouse) as opened:
        return opened.image(3).file.stem


def test_the_files_of_all_maps(written, stem):
    out, _, _ = written
    each = [f"{stem}-{model.replace(':', '-')}-{method}" for model in MODELS for method in METHODS]
    assert {path.name for path in out.iterdir()} == {
        *(f"{name}{end}" for name in each for end in (".png", ".npy")),
        "details",
    }
    assert {path.name for path in (out / "details").iterdir()} == {
        *(f"{name}{end}" for name in each for end in ("-masked.png", "-histogram.csv", "-histogram.png")),
        f"{stem}-summary.csv",
        f"{stem}-contact-sheet.png",
        *(f"{stem}-{method}-similarity-mse.csv" for method in METHODS),
    }


def test_pictures_show_the_saved_maps_at_the_threshold_and_levels(written, stem):
    out, results, _ = written
    assert [(r.model, r.method) for r in results] == [(model, method) for model in MODELS for method in METHODS]
    for result in results:
        name = f"{stem}-{result.model.replace(':', '-')}-{result.method}"
        attention = np.load(out / f"{name}.npy")
        assert attention.dtype == np.float32
        assert (attention.shape, attention.min(), attention.max()) == ((96, 96), 0, 1)
        heatmap = render.overlay(result.picture, attention, 0.3, (0.4, 0.6))
        np.testing.assert_array_equal(np.asarray(Image.open(out / f"{name}.png")), np.asarray(heatmap))
        region = render.masked(result.picture, attention, 0.3)
        np.testing.assert_array_equal(
            np.asarray(Image.open(out / "details" / f"{name}-masked.png")), np.asarray(region)
        )
        counts = colour_histogram(np.asarray(result.picture), attention, 0.3).counts
        header, *rows = table(out / "details" / f"{name}-histogram.csv")
        assert header == ["from", "to", "red", "green", "blue"]
        np.testing.assert_array_equal(np.array([row[2:] for row in rows], dtype=int).T, counts)
        assert counts.sum() == 3 * round(result.area(0.3) * 96 * 96) > 0


def test_the_summary_has_the_numbers_of_the_relation_and_the_area_at_the_threshold(written, stem):
    out, results, _ = written
    header, *rows = table(out / "details" / f"{stem}-summary.csv")
    assert len(rows) == 4
    for row, result in zip(rows, results, strict=True):
        found = dict(zip(header, row, strict=True))
        assert (found["model"], found["method"], found["error"]) == (result.model, result.method, "")
        assert (found["target"], found["predicted"]) == (result.target, result.predicted)
        assert float(found["roi_area"]) == pytest.approx(np.mean(result.attention >= 0.3), rel=1e-5)
        assert float(found["roi_area"]) > result.measures["roi_area"]  # that at 0.5
        for name in ("entropy", "total_variation"):
            assert float(found[name]) == pytest.approx(result.measures[name], rel=1e-5)


def test_similarity_is_algorithm_2_of_the_saved_maps(written, stem):
    out, _, _ = written
    for method in METHODS:
        header, *rows = table(out / "details" / f"{stem}-{method}-similarity-mse.csv")
        assert header == ["model", *MODELS]
        assert [row[0] for row in rows] == list(MODELS)
        maps = [np.load(out / f"{stem}-{model.replace(':', '-')}-{method}.npy") for model in MODELS]
        expected = similarity(np.stack(maps), "mse")
        assert expected[0, 1] > 0
        np.testing.assert_allclose(np.array([row[1:] for row in rows], dtype=float), expected, rtol=1e-5)


def test_progress_grows_to_one(written):
    _, _, shares = written
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_a_failing_model_does_not_disturb_the_others(demo_warehouse, tmp_path, monkeypatch):
    from etl.models.demo import DemoModels

    load = DemoModels.load

    def failing(self, name, *args, **kwargs):
        if name == "resnet34":
            raise UserError("The weights of demo:resnet34 are missing.")
        return load(self, name, *args, **kwargs)

    monkeypatch.setattr(DemoModels, "load", failing)
    results = explain_image(demo_warehouse, Question(("resnet34", "resnet18"), "5", METHODS), tmp_path)
    assert [bool(result.error) for result in results] == [True, True, False, False]
    assert "are missing" in results[0].error
    assert len(list(tmp_path.glob("*.png"))) == 2
    header, *rows = table(next(tmp_path.glob("details/*-summary.csv")))
    assert [bool(row[header.index("error")]) for row in rows] == [True, True, False, False]
    assert not list(tmp_path.glob("details/*similarity*"))
    assert len(list(tmp_path.glob("details/*contact-sheet.png"))) == 1


def test_a_map_that_shows_nothing_is_said_in_words(tmp_path):
    picture = Image.new("RGB", (96, 96), (90, 120, 30))
    blank = Explained(
        "demo:a", "grad-cam", "cat", "cat", 0.9, {}, 0.1, (CONSTANT,), CONSTANT, np.zeros((96, 96), np.float32), picture
    )
    image = Path("cat.png")
    write_one(tmp_path, image, blank, Look())
    assert not np.load(tmp_path / "cat-demo-a-grad-cam.npy").any()
    shown = np.asarray(Image.open(tmp_path / "cat-demo-a-grad-cam.png"))
    np.testing.assert_array_equal(shown, np.asarray(render.unexplained(picture, CONSTANT)))
    write_all(tmp_path, image, [blank, dataclasses.replace(blank, model="demo:b")], {"grad-cam": "Grad-CAM"}, Look())
    assert {path.name for path in (tmp_path / "details").iterdir()} == {"cat-summary.csv", "cat-contact-sheet.png"}


def test_maps_of_different_sizes_are_compared(tmp_path):
    y, x = np.mgrid[0:1:64j, 0:1:64j]
    maps = [((x + y) / 2)[::step, ::step].astype(np.float32) for step in (1, 2)]
    results = [
        Explained(f"demo:{len(a)}", "grad-cam", attention=a, picture=Image.new("RGB", a.shape[::-1])) for a in maps
    ]
    (tmp_path / "details").mkdir()
    write_all(tmp_path, Path("cat.png"), results, {"grad-cam": "Grad-CAM"}, Look())
    rows = table(tmp_path / "details" / "cat-grad-cam-similarity-l1.csv")
    assert 0 < float(rows[1][2]) < 0.02


def test_all_means_the_methods_of_the_paper(demo_warehouse, tmp_path, monkeypatch):
    asked = []

    def request_many(_self, requests, _progress):
        asked.extend(request.method for request in requests)
        raise UserError("That is enough.")

    monkeypatch.setattr("etl.explain.service.ExplanationService.request_many", request_many)
    with pytest.raises(UserError, match="enough"):
        explain_image(demo_warehouse, Question(("resnet18",), "3", ("bbmp", "all")), tmp_path / "out")
    assert asked == ["bbmp", *PAPER[:-1]]
    with pytest.raises(UserError, match="'grad-camm'"):
        explain_image(demo_warehouse, Question(("resnet18",), "3", ("grad-camm",)), tmp_path / "out")
    assert not (tmp_path / "out").exists()
