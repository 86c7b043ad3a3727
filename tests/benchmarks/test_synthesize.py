"""Drawn warehouses: their tables agree with one another, and look like what models do."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import warehouse
from benchmarks.synthesize import synthesize
from benchmarks.synthetic.world import World, class_table
from etl.classes import imagenet
from etl.explain.requests import Request
from etl.explain.service import ExplanationService
from warehouse.errors import UserError
from warehouse.folder import Folder

MODELS, CLASSES, IMAGES = 5, 100, 3000


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = synthesize(tmp_path_factory.mktemp("drawn") / "w", MODELS, CLASSES, IMAGES, seed=3, pictures=7)
    with warehouse.open(folder.root) as opened:
        yield opened


@pytest.fixture(scope="module")
def with_networks(tmp_path_factory):
    return synthesize(tmp_path_factory.mktemp("drawn") / "n", 3, 20, 60, seed=3, pictures=4, explainable=2)


def _columns(opened, query):
    return opened.sql(query).fetchnumpy()


def test_everything_is_there(drawn):
    summary = drawn.summary()
    assert (summary.models, summary.classes, summary.images) == (MODELS, CLASSES, IMAGES)
    for relation, rows in {
        "predictions": MODELS * IMAGES,
        "class_accuracy": MODELS * CLASSES,
        "class_layout": MODELS * CLASSES,
        "image_layout": MODELS * IMAGES,
        "store.class_confidence": MODELS * CLASSES**2,
        "class_distances": MODELS * CLASSES**2,
    }.items():
        assert drawn.sql(f"SELECT count(*) FROM {relation}").fetchall() == [(rows,)], relation
    assert len({row for (row,) in drawn.sql("SELECT model || key FROM models").fetchall()}) == MODELS


def test_the_true_class_stands_where_its_rank_says(drawn):
    found = _columns(drawn, "SELECT * FROM predictions")
    top = np.stack([found["predicted_class_id"], *(found[f"class_id_{i}"] for i in range(2, 6))], axis=1)
    confidence = np.stack([found["confidence"], *(found[f"confidence_{i}"] for i in range(2, 6))], axis=1)
    assert all(len(set(row)) == 5 for row in top.tolist())
    assert (np.diff(confidence, axis=1) <= 0).all()
    hit = top == found["class_id"][:, None]
    rank = found["true_rank"]
    assert np.array_equal(hit.any(axis=1), rank <= 5)
    assert np.array_equal(np.argmax(hit, axis=1)[rank <= 5] + 1, rank[rank <= 5])
    assert np.array_equal(confidence[hit], found["true_confidence"][rank <= 5])
    missed = rank > 5
    assert (found["true_confidence"][missed] <= confidence[missed, 4]).all()
    assert rank.min() == 1
    assert missed.any()
    assert rank.max() <= CLASSES
    total = confidence.sum(axis=1) + np.where(missed, found["true_confidence"], 0)
    assert total.max() <= 1 + 1e-5
    # What is left must fit below the fifth answer.
    assert (1 - total <= (CLASSES - 5) * confidence[:, 4] + 1e-5).all()


def test_accuracies_are_those_of_the_predictions(drawn):
    counted = drawn.sql("SELECT model, avg(correct::INT), avg(correct_top5::INT) FROM predictions GROUP BY model")
    stored = drawn.sql("SELECT model, top1, top5 FROM model_accuracy")
    assert sorted(counted.fetchall()) == [pytest.approx(row) for row in sorted(stored.fetchall())]


def test_mean_confidences_are_those_of_the_predictions(drawn):
    found = _columns(
        drawn, "SELECT sum(mean_confidence) AS total FROM store.class_confidence GROUP BY model_id, class_id"
    )
    assert found["total"] == pytest.approx(np.ones(MODELS * CLASSES))
    # Every answer that is listed is part of the mean.
    [(least,)] = drawn.sql(
        """
        SELECT min(m.mean_confidence - s.listed) FROM store.class_confidence AS m JOIN (
          SELECT model_id, class_id, predicted_class_id AS other_class_id, sum(confidence) / any_value(n) AS listed
          FROM (SELECT *, count(*) OVER (PARTITION BY model_id, class_id) AS n FROM store.prediction)
          GROUP BY model_id, class_id, predicted_class_id
        ) AS s USING (model_id, class_id, other_class_id)
        """
    ).fetchall()
    assert least > -1e-6


def test_wrong_answers_are_related_classes_and_shared_by_models(drawn):
    wrong = (
        "SELECT p.model, p.class_id, p.predicted_class_id, a.root_class = b.root_class AS related"
        " FROM predictions AS p JOIN classes AS a ON a.class_id = p.class_id"
        " JOIN classes AS b ON b.class_id = p.predicted_class_id WHERE NOT correct"
    )
    [(share,)] = drawn.sql(f"SELECT avg(related::INT) FROM ({wrong})").fetchall()
    assert 0.85 < share < 1
    [(shared,)] = drawn.sql(
        f"SELECT avg((models > 1)::INT) FROM (SELECT count(DISTINCT model) AS models FROM ({wrong})"
        " GROUP BY class_id, predicted_class_id HAVING count(*) > 3)"
    ).fetchall()
    assert shared > 0.8
    # What is taken for another lies close to it in the layout, and has a small distance.
    [(confused, others)] = drawn.sql(
        f"""
        SELECT median(distance) FILTER (taken), median(distance) FILTER (NOT taken) FROM (
          SELECT sqrt((a.x - b.x) ** 2 + (a.y - b.y) ** 2) AS distance,
            (a.model, a.class_id, b.class_id) IN (SELECT model, class_id, predicted_class_id FROM ({wrong})) AS taken
          FROM class_layout AS a JOIN class_layout AS b ON b.model = a.model AND b.class_id <> a.class_id)
        """
    ).fetchall()
    assert confused < 0.4 * others


def test_confidence_tells_how_often_a_model_is_right(drawn):
    bins = drawn.sql(
        "SELECT avg(confidence), avg(correct::INT) FROM predictions GROUP BY round(confidence, 1)"
        " HAVING count(*) > 200 ORDER BY 1"
    ).fetchall()
    assert len(bins) > 5
    for confidence, accuracy in bins:
        assert confidence == pytest.approx(accuracy, abs=0.2)
    assert [right for _, right in bins] == sorted(right for _, right in bins)


def test_layouts_of_models_are_aligned(drawn):
    found = _columns(drawn, "SELECT model, x, y FROM class_layout ORDER BY model, class_id")
    layouts = np.stack([found["x"], found["y"]], axis=1).reshape(MODELS, CLASSES, 2)
    spread = np.sqrt((layouts**2).sum(axis=2).mean())
    assert np.median(np.linalg.norm(layouts[0] - layouts[1], axis=1)) < 0.25 * spread


def test_every_image_has_a_file(drawn):
    found = _columns(drawn, "SELECT image_id, width, height, bytes FROM images ORDER BY image_id")
    files = [drawn.image(image_id).file for image_id in found["image_id"].tolist()]
    assert len({file.stat().st_ino for file in files}) == 7
    for i in (0, 1, 8, IMAGES - 1):
        with Image.open(files[i]) as image:
            assert image.size == (found["width"][i], found["height"][i])
        assert files[i].stat().st_size == found["bytes"][i]


def test_same_seed_same_bytes(drawn, tmp_path):
    def parts(folder):
        root = Folder(folder).parts
        # The register of images names the folder they lie in.
        return {
            str(file.relative_to(root)): file.read_bytes()
            for kind in ("classes", "decoded", "predictions", "confidences", "models")
            for file in root.glob(f"{kind}/**/*.parquet")
        }

    again = synthesize(tmp_path / "again", MODELS, CLASSES, IMAGES, seed=3, pictures=7)
    other = synthesize(tmp_path / "other", 1, CLASSES, IMAGES, seed=4)
    assert parts(again.root) == parts(drawn.root)
    assert set(parts(other.root).values()).isdisjoint(set(parts(drawn.root).values()) - {_table(drawn)})


def _table(opened):
    return (Folder(opened.root).parts / "classes" / "_" / "table.parquet").read_bytes()


def test_the_first_models_can_be_explained(with_networks):
    with warehouse.open(with_networks.root) as opened:
        models = [opened.model_row(name) for name in opened.models()["model"]]
    explainable = [model for model in models if model.source == "torchvision"]
    assert len(explainable) == 2
    with ExplanationService(with_networks.root) as service:
        maps = [service.request(Request(model.model, image)).result(60) for model in explainable for image in (0, 1)]
        [other] = {model.model for model in models} - {model.model for model in explainable}
        with pytest.raises(UserError, match="synthetic"):
            service.request(Request(other, 0)).result(60)
    for found in maps:
        assert not found.flags
        assert found.map.std() > 0.1
    assert len({found.map.tobytes() for found in maps}) == 4
    assert all(model.layer and model.preprocess for model in explainable)


def test_networks_come_from_the_seed_and_change_nothing_else(with_networks, tmp_path):
    def networks(folder):
        return {file.name: file.read_bytes() for file in (folder.root / "networks").iterdir()}

    def said(folder):
        with warehouse.open(folder.root) as opened:
            columns = "label, family, parameters, flops, image_id, class_id_5, confidence_5, true_confidence"
            return opened.sql(f"SELECT {columns} FROM predictions JOIN models USING (model) ORDER BY ALL").fetchall()

    again = synthesize(tmp_path / "again", 3, 20, 60, seed=3, pictures=4, explainable=2)
    without = synthesize(tmp_path / "without", 3, 20, 60, seed=3, pictures=4)
    assert networks(again) == networks(with_networks)
    assert len(set(networks(again).values())) == 2
    assert not (without.root / "networks").exists()
    assert said(without) == said(with_networks)


def test_what_cannot_be_explained_is_refused(tmp_path):
    with pytest.raises(ValueError, match="files"):
        synthesize(tmp_path / "w", 2, 20, 60, explainable=1)
    with pytest.raises(ValueError, match="Of 2 models 3"):
        synthesize(tmp_path / "w", 2, 20, 60, pictures=4, explainable=3)
    assert not (tmp_path / "w").exists()


def test_only_networks_need_torch(tmp_path):
    program = (
        "import sys; from benchmarks.synthesize import synthesize;"
        f"synthesize({str(tmp_path / 'w')!r}, 1, 20, 60, pictures=1); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_thousand_classes_are_imagenets():
    assert class_table(1000) == imagenet()
    many = class_table(2500)
    assert len(set(many.wnids)) == 2500
    assert sorted(set(many.roots)) == sorted(set(imagenet().roots))
    assert len(World.of(100, 1000).labels) == 1000


def test_a_folder_that_is_taken_is_refused(drawn):
    command = [sys.executable, "-m", "benchmarks.synthesize", str(drawn.root), "--models", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "holds a warehouse already" in done.stderr
    assert "Traceback" not in done.stderr
