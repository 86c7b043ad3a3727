"""The command line as people use it: real processes, real exit codes."""

from __future__ import annotations

import subprocess
import sys

import duckdb
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import resnet18


def vacpanel(*arguments, status=0):
    command = [sys.executable, "-m", "vacpanel", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


EXPLAIN = ["--warehouse", "{tmp}", "--models", "a", "--image", "1", "--out", "{tmp}/w"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["serve", "/nowhere"], "/nowhere"),
        (["info", "/nowhere"], "/nowhere"),
        (["publish", "/nowhere"], "/nowhere"),
        (["etl", "/nowhere", "--warehouse", "{tmp}/w", "--models", "resnet18"], "/nowhere"),
        (["etl", "{tmp}", "--warehouse", "{tmp}/w"], "--models"),
        (["explain", "--warehouse", "/nowhere", "--models", "a", "--image", "1", "--out", "{tmp}/o"], "/nowhere"),
        (["explain", *EXPLAIN, "--levels", "0.5,much"], "'0.5,much'"),
        (["explain", *EXPLAIN, "--levels", "1.5"], "between 0 and 1"),
        (["explain", *EXPLAIN, "--similarity", "cosine"], "cosine"),
        (["explain", *EXPLAIN, "--method", "grad-camm"], "'grad-camm'"),
        (["fly"], "fly"),
    ],
)
def test_bad_input_gives_one_sentence_and_status_2(arguments, said, tmp_path):
    done = vacpanel(*(a.replace("{tmp}", str(tmp_path)) for a in arguments), status=2)
    assert said.replace("{tmp}", str(tmp_path)) in done.stderr
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


def test_info_lists_every_relation_and_column_with_its_meaning(empty_warehouse):
    printed = vacpanel("info", empty_warehouse, "--schema").stdout
    with duckdb.connect(str(empty_warehouse / "warehouse.duckdb"), read_only=True) as connection:
        columns = connection.execute(
            "SELECT table_name, column_name, data_type, comment FROM duckdb_columns()"
            " WHERE schema_name = 'main' AND NOT internal"
        ).fetchall()
    assert len(columns) > 100
    blocks = {block.split()[0]: block for block in printed.split("\n\n") if block.strip()}
    assert set(blocks) == {relation for relation, *_ in columns}
    for relation, column, kind, comment in columns:
        # Long comments are folded; their first words stay together.
        row = [line for line in blocks[relation].splitlines() if line.split("│")[0].strip() == column]
        assert len(row) == 1
        assert kind in row[0]
        assert comment[:40] in row[0]


def test_a_second_run_of_the_demo_computes_nothing(demo_warehouse):
    # Maps that other tests have stored meanwhile are not this test's business.
    vacpanel("publish", demo_warehouse)
    target = (demo_warehouse / "warehouse.duckdb").resolve()
    vacpanel("demo", "--no-serve", "--warehouse", demo_warehouse, "--images-per-class", "4")
    assert (demo_warehouse / "warehouse.duckdb").resolve() == target


def test_etl_on_a_cluster_with_its_parts_elsewhere(tmp_path):
    images, warehouse, parts = f"demo:{tmp_path}/images?images_per_class=1", tmp_path / "w", tmp_path / "share"
    command = ["etl", images, "--warehouse", warehouse, "--models", "demo:squeezenet1_1", "--device", "cpu"]
    done = vacpanel(*command, "--parts", parts, "--cluster", "local:1")
    assert "Dask's dashboard is at http://127.0.0.1:" in done.stderr
    assert "1 model, 64 images, 64 new predictions" in done.stderr
    assert list((parts / "predictions").rglob("*.parquet"))
    assert not any((warehouse / "parts").iterdir())
    again = vacpanel(*command)  # it remembers where its parts are
    assert "0 new predictions" in again.stderr
    refused = vacpanel(*command, "--parts", tmp_path / "other", status=2)
    assert f"keeps its parts at {parts}" in refused.stderr


def test_explain_writes_pictures_and_maps_and_the_store_remembers(demo_warehouse, tmp_path):
    common = ["--warehouse", demo_warehouse, "--models", "resnet18,demo:alexnet", "--image", "3"]
    printed = vacpanel("explain", *common, "--out", tmp_path / "out").stdout
    assert "resnet18" in printed
    assert "alexnet" in printed
    names = sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_file())
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
            "SELECT model, roi_area FROM explanations "
            "WHERE image_id = 3 AND method = 'grad-cam' AND model IN (?, ?) ORDER BY model",
            ["demo:alexnet", "demo:resnet18"],
        ).fetchall()
    assert [row[0] for row in rows] == ["demo:alexnet", "demo:resnet18"]
    assert all(0 < row[1] < 1 for row in rows)


def test_explain_takes_several_methods_and_says_what_failed(demo_warehouse, tmp_path):
    """A checkpoint that has gone missing since the ETL ran is one red line; the other model is explained."""
    checkpoint = tmp_path / "mine.pth"
    torch.save(resnet18(num_classes=64).state_dict(), checkpoint)
    warehouse, images = tmp_path / "w", demo_warehouse / "images"
    models = ["demo:resnet18", f"torchvision:resnet18@{checkpoint}"]
    vacpanel("etl", images, "--warehouse", warehouse, "--models", ",".join(models), "--limit", "4")
    checkpoint.unlink()
    common = ["explain", "--warehouse", warehouse, "--image", "0", "--out", tmp_path / "out"]
    done = vacpanel(*common, "--models", ",".join(models), "--method", "grad-cam,grad-cam++")
    assert [line for line in done.stdout.splitlines() if "mine.pth does not exist" in line], done.stdout
    assert len(list((tmp_path / "out").glob("*.png"))) == 2
    vacpanel(*common, "--models", models[1], status=1)


def test_serve_refuses_a_map_cache_that_it_cannot_read(empty_warehouse):
    assert "'much' is no size" in vacpanel("serve", empty_warehouse, "--map-cache", "much", status=2).stderr


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
