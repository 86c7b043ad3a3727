"""The command line as people use it: real processes, real exit codes."""

from __future__ import annotations

import subprocess
import sys

import duckdb
import numpy as np
import pytest
from PIL import Image


def vacpanel(*arguments, status=0):
    command = [sys.executable, "-m", "vacpanel", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["serve", "/nowhere"], "/nowhere"),
        (["info", "/nowhere"], "/nowhere"),
        (["publish", "/nowhere"], "/nowhere"),
        (["etl", "/nowhere", "--warehouse", "{tmp}/w", "--models", "resnet18"], "/nowhere"),
        (["etl", "{tmp}", "--warehouse", "{tmp}/w"], "--models"),
        (["explain", "--warehouse", "/nowhere", "--models", "a", "--image", "1", "--out", "{tmp}/o"], "/nowhere"),
        (["fly"], "fly"),
    ],
)
def test_bad_input_gives_one_sentence_and_status_2(arguments, said, tmp_path):
    done = vacpanel(*(a.replace("{tmp}", str(tmp_path)) for a in arguments), status=2)
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "w").exists()


def test_models_and_methods_are_listed():
    models = vacpanel("models").stdout
    for provider in ("torchvision", "demo", "efficientnet-lite", "timm", "python"):
        assert f"{provider}:" in models
    assert "grad-cam" in vacpanel("methods").stdout


def test_info_counts_what_the_warehouse_holds(demo_warehouse):
    printed = vacpanel("info", demo_warehouse).stdout
    assert "13 models, 64 classes" in printed
    assert "demo:resnet152" in printed.replace("\n", "")


def test_a_second_run_of_the_demo_computes_nothing(demo_warehouse):
    target = (demo_warehouse / "warehouse.duckdb").resolve()
    vacpanel("demo", "--no-serve", "--warehouse", demo_warehouse, "--images-per-class", "4")
    assert (demo_warehouse / "warehouse.duckdb").resolve() == target


def test_explain_writes_pictures_and_maps_and_the_store_remembers(demo_warehouse, tmp_path):
    common = ["--warehouse", demo_warehouse, "--models", "resnet18,demo:alexnet", "--image", "3"]
    printed = vacpanel("explain", *common, "--out", tmp_path / "out").stdout
    assert "resnet18" in printed
    assert "alexnet" in printed
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert len(names) == 4
    for name in names:
        path = tmp_path / "out" / name
        if path.suffix == ".npy":
            attention = np.load(path)
            assert attention.dtype == np.float32
            assert attention.shape == (96, 96)
            assert (attention.min(), attention.max()) == (0, 1)
        else:
            with Image.open(path) as picture:
                assert picture.size == (192, 192)
    vacpanel("publish", demo_warehouse)
    with duckdb.connect(str(demo_warehouse / "warehouse.duckdb"), read_only=True) as connection:
        rows = connection.execute(
            "SELECT model, method, roi_area FROM explanations WHERE image_id = 3 AND model IN (?, ?) ORDER BY model",
            ["demo:alexnet", "demo:resnet18"],
        ).fetchall()
    assert [row[:2] for row in rows] == [("demo:alexnet", "grad-cam"), ("demo:resnet18", "grad-cam")]
    assert all(0 < row[2] < 1 for row in rows)


def test_explain_takes_any_image_file_and_a_class_by_name(demo_warehouse, tmp_path):
    rng = np.random.default_rng(0)
    file = tmp_path / "mine.png"
    Image.fromarray(rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)).save(file)
    common = ["--warehouse", demo_warehouse, "--models", "resnet18", "--image", file, "--out", tmp_path / "out"]
    assert "cat" in vacpanel("explain", *common, "--target", "cat").stdout
    assert (tmp_path / "out" / "mine-demo-resnet18-grad-cam.npy").is_file()
    done = vacpanel("explain", *common, "--target", "catt", status=2)
    assert "'cat'" in done.stderr


def test_explain_names_an_unknown_model_and_what_there_is(demo_warehouse, tmp_path):
    common = ["--warehouse", demo_warehouse, "--image", "3", "--out", tmp_path / "out"]
    done = vacpanel("explain", *common, "--models", "resnet19", status=2)
    assert "'resnet19'" in done.stderr
    assert "demo:resnet18" in done.stderr
    assert not (tmp_path / "out").exists()
