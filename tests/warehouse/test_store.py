from __future__ import annotations

import dataclasses
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pytest

import warehouse
from warehouse.errors import WarehouseError
from warehouse.predicate import Predicate
from warehouse.publish import publish
from warehouse.rows import ImageRow, ModelRow

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Sample

    from warehouse.folder import Folder
    from warehouse.store import Warehouse

# Every question that gives columns, with the columns it promises.
QUESTIONS = {
    "models": (
        [],
        "model label family source parameters flops input_size latency_ms precision images top1 top5",
    ),
    "classes": ([], "class_id wnid class_name root_class images"),
    "class_layout": (["demo:net0"], "class_id class_name root_class x y images top1"),
    "image_points": ([], "model_id image_id class_id x y"),
    "nearest_classes": (["demo:net0", 1, 3], "class_id class_name root_class distance"),
    "images_of_classes": ([[5, 0], 20], "image_id path class_id"),
    "images_of": ([0], "image_id root path class_id width height"),
    "predictions": (
        [["demo:net0", "demo:net2"], [0, 4]],
        "model label image_id class_id class_name predicted_class_id predicted_class_name confidence"
        " true_confidence true_rank correct",
    ),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_columns(w: Warehouse, question: str) -> None:
    arguments, names = QUESTIONS[question]
    columns = getattr(w, question)(*arguments)
    assert list(columns) == names.split()
    assert len({len(column) for column in columns.values()}) == 1
    assert len(next(iter(columns.values()))) > 0
    for column in columns.values():
        assert type(column) is np.ndarray
        assert column.ndim == 1


@pytest.mark.parametrize("question", QUESTIONS)
def test_empty_warehouses_give_empty_columns(blank: Warehouse, question: str) -> None:
    arguments, names = QUESTIONS[question]
    columns = getattr(blank, question)(*arguments)
    assert {name: len(column) for name, column in columns.items()} == dict.fromkeys(names.split(), 0)


def test_all_questions_have_a_test(w: Warehouse) -> None:
    own = {name for name in vars(type(w)) if not name.startswith("_")}
    assert own - {"summary", "roots", "model_row", "image", "image_rows", "tally"} == set(QUESTIONS)


def test_summary_and_roots(w: Warehouse, sample: Sample) -> None:
    assert dataclasses.asdict(w.summary()) == {
        "models": 3,
        "classes": 7,
        "images": len(sample.seen),
        "skipped": 1,
        "generation": w.generation,
    }
    assert w.roots() == ["animal", "plant", "tool's"]


def test_missing_numbers_are_nan_and_missing_text_none(w: Warehouse) -> None:
    models = w.models()
    assert models["flops"].dtype == np.float64
    assert np.isnan(models["flops"]).tolist() == [True, False, False]
    assert w.classes()["wnid"].tolist()[:2] == [None, "n00000001"]
    layout = w.class_layout("demo:net0")
    assert np.isnan(layout["top1"]).tolist() == [i == 5 for i in range(7)]
    assert layout["images"].tolist() == [7, 8, 8, 8, 8, 0, 8]


def test_orders(w: Warehouse) -> None:
    assert (np.diff(w.nearest_classes("demo:net1", 2, 5)["distance"]) >= 0).all()
    predictions = w.predictions(["demo:net2", "demo:net0"], [4, 0])
    assert predictions["image_id"].tolist() == [0, 0, 4, 4]
    assert predictions["model"].tolist() == ["demo:net0", "demo:net2"] * 2


def test_nearest_classes(w: Warehouse, sample: Sample) -> None:
    p = sample.confidences["demo:net1"][sample.seen].astype(np.float64)
    labels = sample.labels[sample.seen]
    present = [0, 1, 3, 4, 6]
    mean = {c: p[labels == c].mean(axis=0) for c in [*present, 2]}
    distance = {c: ((1 - mean[2][c]) + (1 - mean[c][2])) / 2 for c in present}
    found = w.nearest_classes("demo:net1", 2, 3)
    assert found["class_id"].tolist() == sorted(present, key=distance.__getitem__)[:3]
    np.testing.assert_allclose(found["distance"], sorted(distance.values())[:3], atol=1e-12)
    assert len(w.nearest_classes("demo:net1", 2, 100)["class_id"]) == 5
    assert len(w.nearest_classes("demo:net1", 5, 3)["class_id"]) == 0


def test_models_and_images_one_by_one(w: Warehouse, sample: Sample) -> None:
    row = w.model_row("demo:net1")
    assert isinstance(row, ModelRow)
    assert (row.key, row.label, row.flops, row.layer) == (sample.key("demo:net1"), "net1", 2_000_000, "features")
    assert row.top1 == w.models()["top1"][1]
    assert w.model_row("demo:net0").flops is None
    image = w.image(9)
    assert (image.class_id, image.class_name, image.width) == (1, sample.names[1], 96 + 9)
    assert image.file == w.root.parent / "images" / "c1" / "été 9.png"
    assert [row.image_id for row in w.image_rows(2, 9)] == [2, 4, 5, 6, 7, 8, 9]
    assert w.image_rows(9, 9) == [image]
    for unknown in (3, -1, 10**6):  # 3 was skipped
        with pytest.raises(WarehouseError, match=f"no image {unknown}"):
            w.image(unknown)
    with pytest.raises(WarehouseError, match="no model 'demo:x'"):
        w.model_row("demo:x")


def test_images_of_several_classes_share_the_room(w: Warehouse) -> None:
    classes = w.classes()
    a, b, c = map(int, classes["class_id"][classes["images"] >= 2][[2, 0, 1]])
    every = {class_id: w.images_of(class_id)["image_id"].tolist() for class_id in (a, b, c)}
    assert w.images_of_classes([a, b, c], 10**6)["image_id"].tolist() == [*every[a], *every[b], *every[c]]
    few = w.images_of_classes([a, b, c], 6)
    assert few["image_id"].tolist() == [*every[a][:2], *every[b][:2], *every[c][:2]]
    for where in (Predicate(correct=False, models=("demo:net0",)), Predicate(images=(*every[a][:1], *every[b][1:]))):
        kept = [i for class_id in (a, b) for i in w.images_of(class_id, where=where)["image_id"]]
        assert kept
        assert w.images_of_classes([a, b], 10**6, where)["image_id"].tolist() == kept
    assert w.images_of_classes([a, b], 10**6, Predicate(classes=(c, b)))["image_id"].tolist() == every[b]
    assert w.images_of_classes([a, b], 10**6, Predicate(classes=(c,)))["image_id"].tolist() == []


def test_numpy_integers_are_welcome(w: Warehouse) -> None:
    classes = w.classes()["class_id"]
    assert len(w.images_of(classes[1], limit=np.int64(2))["image_id"]) == 2
    assert w.image(np.int32(9)).image_id == 9
    assert len(w.tally().on_class(classes[1])["model"]) == 3
    assert len(w.predictions(w.models()["model"], np.arange(3))["model"]) == 9


def test_hostile_text_is_only_text(w: Warehouse, sample: Sample) -> None:
    hostile = "x'; DROP TABLE classes; --"
    assert len(w.tally().class_accuracy(hostile)["class_id"]) == 0
    assert len(w.tally().class_spread(hostile)["class_id"]) == 0
    assert not w.tally(Predicate(models=(hostile,), min_confidence=0.1)).images.any()
    assert len(w.predictions([hostile, "demo:net0"], [0])["model"]) == 1
    assert sample.names[1] in w.classes()["class_name"]


@pytest.mark.parametrize("path", ["/etc/passwd", "../secret.png", "a/../../secret.png", "link/x.png", "a\0b"])
def test_image_files_stay_in_their_folder(tmp_path: Path, path: str) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "link").symlink_to(tmp_path)
    row = ImageRow(1, str(tmp_path / "images"), path, 0, "c", "r", None, None, None)
    with pytest.raises(WarehouseError, match="outside its image folder"):
        _ = row.file
    inside = dataclasses.replace(row, path="c/..x.png")
    assert inside.file == tmp_path / "images" / "c" / "..x.png"


# SQL ---------------------------------------------------------------------------------------------------------


def test_relations_are_independent_of_later_calls(own: Folder) -> None:
    with warehouse.open(own.root) as w:
        relation = w.sql("SELECT model, top1 FROM model_accuracy WHERE top1 >= ? ORDER BY model", [0.5])
        named = w.sql("SELECT $a AS a, $b AS b", {"a": 1, "b": "x"})
        before = relation.fetchall()
        w.models()
        generation = w.generation
        publish(own, force=True)
        assert w.refresh()
        assert relation.fetchall() == before
        assert named.fetchall() == [(1, "x")]
        assert relation.pl().shape == (2, 2)
        assert w.sql("SELECT generation FROM dataset").fetchall() == [(generation + 1,)]


def test_nobody_writes_through_a_reader(w: Warehouse) -> None:
    with pytest.raises(duckdb.Error, match="read-only"):
        w.sql("CREATE TABLE mine AS SELECT 1")


def test_closing(own: Folder) -> None:
    w = warehouse.open(own.root)
    w.close()
    w.close()
    with pytest.raises(WarehouseError, match="was closed"):
        w.models()
    with pytest.raises(WarehouseError, match="was closed"):
        w.sql("SELECT 1")


def test_two_readers_of_one_process(own: Folder) -> None:
    with warehouse.open(own.root) as one:
        with warehouse.open(own.root) as other:
            assert other.summary() == one.summary()
        assert one.summary().models == 3


def test_refresh_notices_a_warehouse_made_anew(own: Folder, sample: Sample) -> None:
    publish(own, force=True)
    with warehouse.open(own.root) as w:
        shutil.rmtree(own.root)
        own.create()
        sample.write_facts(own)
        assert publish(own).number == 1
        assert w.refresh()
        assert w.summary().models == 0


def test_refresh_outlives_vanished_generations(own: Folder) -> None:
    with warehouse.open(own.root) as w:
        for _ in range(4):
            publish(own, force=True)
        before = w.summary()
        assert w.refresh()
        assert w.summary().generation == before.generation + 4
        shutil.rmtree(own.generations)
        assert not w.refresh()
        assert w.summary().models == 3


def test_threads_query_while_generations_change(own: Folder, sample: Sample) -> None:
    with warehouse.open(own.root) as w:
        expected = {m: w.class_layout(m)["x"].tolist() for m in sample.models}
        stop = threading.Event()

        def work(model: str) -> None:
            while not stop.is_set():
                assert w.class_layout(model)["x"].tolist() == expected[model]
                summary = w.summary()
                assert summary.models == 3
                w.refresh()
                assert w.summary().generation >= summary.generation

        with ThreadPoolExecutor(3) as pool:
            readers = [pool.submit(work, sample.models[i % 3]) for i in range(3)]
            try:
                numbers = [publish(own, force=True).number for _ in range(2)]
            finally:
                stop.set()
            for reader in readers:
                reader.result()
        w.refresh()
        assert w.generation == numbers[-1]
