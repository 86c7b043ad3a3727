"""docs/own.md works as it is written, with small images and made-up weights."""

from __future__ import annotations

import shutil
import tarfile

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from scipy.io import savemat
from torch import nn

import warehouse
from etl.classes import imagenet

PAGE = "own.md"
COLOURS = {"ripe": (200, 30, 30), "rotten": (60, 40, 20), "unripe": (60, 180, 60)}


def _images(folder, size=64):
    rng = np.random.default_rng(3)
    for colour in COLOURS:
        (folder / colour).mkdir(parents=True)
        for k in range(2):
            noise = rng.integers(-20, 20, (size, size, 3)) + np.array(COLOURS[colour])
            Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(folder / colour / f"{k}.jpg")


@pytest.fixture(scope="module")
def prepared(reader):
    """The reader has fruit and weights, and what would be downloaded is there."""
    folder = reader.folder
    torch.manual_seed(0)
    _images(folder / "fruit")
    _images(folder / "photos")
    for old, new in zip(COLOURS, ("n01440764", "n01443537", "n01484850"), strict=True):
        (folder / "photos" / old).rename(folder / "photos" / new)
    torch.save(torchvision.models.mobilenet_v3_small(num_classes=3).state_dict(), folder / "fruit.pth")
    save_file = pytest.importorskip("safetensors.torch").save_file
    save_file(timm.create_model("resnet10t", num_classes=3).state_dict(), folder / "other.safetensors")
    torch.save(nn.Sequential(nn.Conv2d(3, 3, 5), nn.AdaptiveAvgPool2d(1), nn.Flatten()), folder / "net.pt")

    checkpoints = folder / "torch-home" / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    for name in ("resnet18", "mobilenet_v3_small"):
        weights = torchvision.models.get_model_weights(name).DEFAULT
        torch.save(torchvision.models.get_model(name).state_dict(), checkpoints / weights.url.rpartition("/")[2])

    name = "mobilenetv3_small_050"
    repository = folder / "hub" / f"models--{timm.models.get_pretrained_cfg(name).hf_hub_id.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    save_file(timm.create_model(name).state_dict(), snapshot / "model.safetensors")

    reader.environment = {
        "TORCH_HOME": str(folder / "torch-home"),
        "HF_HUB_CACHE": str(folder / "hub"),
        "HF_HUB_OFFLINE": "1",
        # Whoever tries to download fails at once.
        "https_proxy": "http://127.0.0.1:1",
    }
    return reader


def _archives(folder):
    """What image-net.org offers, with six images."""
    classes = list(zip(reversed(range(1, 1001)), imagenet().wnids, strict=True))
    synsets = np.array(classes, dtype=[("ILSVRC2012_ID", "O"), ("WNID", "O")])
    data = folder / "make" / "ILSVRC2012_devkit_t12" / "data"
    data.mkdir(parents=True)
    savemat(data / "meta.mat", {"synsets": synsets})
    (data / "ILSVRC2012_validation_ground_truth.txt").write_text("1000\n999\n1\n1000\n999\n1\n")
    with tarfile.open(folder / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as archive:
        archive.add(data.parent, "ILSVRC2012_devkit_t12")
    with tarfile.open(folder / "ILSVRC2012_img_val.tar", "w") as archive:
        for k, path in enumerate(sorted((folder / "photos").rglob("*.jpg")), start=1):
            archive.add(path, f"ILSVRC2012_val_{k:08d}.JPEG")
    shutil.rmtree(folder / "make")


def _held(folder):
    """Models, and root class of each class with images."""
    with warehouse.open(folder) as w:
        models = {model for (model,) in w.sql("SELECT DISTINCT model FROM predictions").fetchall()}
        classes = w.sql(
            "SELECT class_id, class_name, root_class, count(*) FROM images JOIN classes USING (class_id)"
            " GROUP BY ALL ORDER BY ALL"
        ).fetchall()
    return models, classes


FRUIT = [(0, "ripe", "edible", 2), (1, "rotten", "waste", 2), (2, "unripe", "edible", 2)]


def test_a_folder_of_ones_own_with_a_hierarchy(prepared):
    section = "A folder of class folders, with any classes and any hierarchy"
    prepared.follow(prepared.sections(PAGE)[section])
    assert _held(prepared.folder / "w") == ({"torchvision:mobilenet_v3_small@fruit.pth"}, FRUIT)


def test_checkpoints_and_a_function(prepared):
    sections = prepared.sections(PAGE)
    layout, table, _ = sections["A folder of class folders, with any classes and any hierarchy"]
    prepared.follow([layout, table])
    prepared.follow(sections["A checkpoint of your training"])
    prepared.follow(sections["A function"])
    models, classes = _held(prepared.folder / "w")
    assert models == {
        "torchvision:mobilenet_v3_small@fruit.pth",
        "timm:resnet10t@other.safetensors",
        "python:mynets:net",
    }
    assert classes == FRUIT


def test_names_of_torchvision_and_timm(prepared):
    prepared.follow(prepared.sections(PAGE)["Of torchvision, by name"])
    prepared.follow(prepared.sections(PAGE)["Of timm, by name"])
    models, classes = _held(prepared.folder / "photos-w")
    assert models == {"torchvision:resnet18", "torchvision:mobilenet_v3_small", "timm:mobilenetv3_small_050"}
    assert [name for _, name, *_ in classes] == ["tench", "goldfish", "great white shark"]


def test_the_validation_images_of_imagenet(prepared):
    _archives(prepared.folder)
    prepared.follow(prepared.sections(PAGE)["ImageNet's validation images"])
    models, classes = _held(prepared.folder / "imagenet")
    assert models == {"torchvision:resnet18", "torchvision:mobilenet_v3_small"}
    assert [(class_id, root, images) for class_id, _, root, images in classes] == [
        (0, "animal", 2),
        (1, "animal", 2),
        (999, imagenet().roots[999], 2),
    ]
