"""Images, folders, names and models that an ETL should not trust: it skips or refuses them, and the rest goes on."""

from __future__ import annotations

import importlib
import os
import shutil
import struct
import sys
import tempfile
import zlib
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import warehouse
from etl import images, run
from etl.datasets import DatasetError, open_dataset
from etl.images import UnreadableImage, open_image
from etl.models import resolve
from etl.preprocess import CallablePreprocess
from tests.etl.conftest import write_image

MODEL = "python:tinynets:small"


def etl(folder, target, models=(MODEL,), **options):
    return run(folder, models, target, **({"device": "cpu", "progress": False, "image_layout": False} | options))


def rows(target, query):
    with warehouse.open(target) as w:
        return w.sql(query).fetchall()


# Images ---------------------------------------------------------------------------------------------------------------


def png_chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def huge(kind, width=60_000, height=60_000):
    """A few bytes that claim to be an image of 3,600 million pixels."""
    match kind:
        case "png":
            header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
            data = png_chunk(b"IDAT", zlib.compress(b"\0" * (width // 8 + 1) * 100))
            return b"\x89PNG\r\n\x1a\n" + header + data + png_chunk(b"IEND", b"")
        case "gif":
            return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + b",\0\0\0\0" + b"\xff" * 40 + b";"
        case "bmp":
            info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
            return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + info
        case "ppm":
            return f"P6 {width} {height} 255\n".encode()
        case "tif":
            tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, height)]
            entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
            return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + b"\0" * 4
        case "jpg":
            frame = struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\x01\x11\0"
            return b"\xff\xd8\xff\xc0" + frame + b"\xff\xd9"


@pytest.mark.parametrize("kind", ["png", "gif", "bmp", "ppm", "tif", "jpg"])
def test_decompression_bombs_are_not_unpacked(tmp_path, kind):
    (tmp_path / f"bomb.{kind}").write_bytes(huge(kind))
    with pytest.raises(UnreadableImage, match="too large"):
        open_image(tmp_path / f"bomb.{kind}")


def test_a_file_of_gigabytes_is_not_read(tmp_path):
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(images.BYTE_LIMIT + 1)
    with pytest.raises(UnreadableImage, match="too large: more than 2147483648 bytes"):
        open_image(tmp_path / "a.png")


def test_pipes_and_devices_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "endless.png").symlink_to("/dev/zero")
    for name in ("pipe.png", "endless.png"):
        with pytest.raises(UnreadableImage, match="not a regular file"):
            open_image(tmp_path / name)


def test_images_of_every_kind_and_what_is_none(image_folder, factories, tmp_path):
    """In one folder: what can be decoded is predicted, what cannot is listed with its reason."""
    red, first = image_folder / "red", Image.open(image_folder / "red" / "0.png")
    exif = Image.Exif()
    exif[0x0112] = 8
    first.convert("CMYK").save(red / "cmyk.jpg")
    first.convert("L").save(red / "gray.jpg")
    first.convert("P").save(red / "palette.png")
    Image.fromarray(np.arange(900, dtype=np.uint16).reshape(30, 30) * 70).save(red / "sixteen.png")
    first.save(red / "rotated.jpg", exif=exif)
    first.save(red / "moving.gif", save_all=True, append_images=[Image.new("RGB", first.size)] * 3)
    first.resize((20_000, 60)).save(red / "wide.jpg")
    first.resize((60, 20_000)).save(red / "high.png")
    good = {f"red/{path.name}" for path in red.iterdir()}

    data = (red / "0.png").read_bytes()
    (red / "truncated.png").write_bytes(data[: len(data) // 2])
    (red / "empty.jpg").write_bytes(b"")
    (red / "text.jpg").write_text("A text file that somebody renamed.")
    (red / "bomb.png").write_bytes(huge("png"))
    (red / "circle.png").symlink_to("circle.png")
    (red / "folder.png").mkdir()  # a folder's name means nothing
    os.mkfifo(red / "pipe.png")
    report = etl(image_folder, tmp_path / "w")
    assert report.status == "finished"
    reasons = {
        "red/truncated.png": "cannot be decoded",
        "red/empty.jpg": "empty",
        "red/text.jpg": "not an image",
        "red/bomb.png": "too large",
        "red/circle.png": "cannot be read",
        "red/pipe.png": "not a regular file",
    }
    assert report.skipped.keys() == reasons.keys()
    for path, reason in reasons.items():
        assert reason in report.skipped[path]
    query = "SELECT path, width, height FROM predictions JOIN images USING (image_id) WHERE path LIKE 'red/%'"
    sizes = {path: (width, height) for path, width, height in rows(tmp_path / "w", query)}
    assert sizes.keys() == good
    assert (sizes["red/wide.jpg"], sizes["red/rotated.jpg"]) == ((20_000, 60), first.size)


# Folders --------------------------------------------------------------------------------------------------------------


@contextmanager
def as_anybody():
    """Give up the rights of root, whom no folder is closed to."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def closed():
    """A folder with images, one of whose subfolders nobody may read; the folder itself is open to all."""
    root = Path(tempfile.mkdtemp())
    root.chmod(0o755)
    write_image(root / "images" / "red" / "0.png", 0, 0)
    write_image(root / "images" / "blue" / "deep" / "er" / "0.png", 0, 2)
    yield root / "images"
    for path in root.rglob("*"):
        path.chmod(0o755)
    shutil.rmtree(root)


@pytest.mark.parametrize("which", ["", "red", "blue/deep/er"])
def test_a_folder_that_may_not_be_read_is_named(closed, which):
    """Left out silently, its images would lack in every figure."""
    (closed / which).chmod(0)
    with as_anybody(), pytest.raises(DatasetError, match="cannot be read: Permission denied") as raised:
        list(open_dataset(closed).images())
    assert str(closed / which) in str(raised.value)


def test_a_folder_inside_one_that_may_not_be_entered_is_named(closed):
    closed.chmod(0)
    with as_anybody(), pytest.raises(DatasetError, match="Permission denied"):
        open_dataset(closed / "red")


def test_links_in_circles(tmp_path, factories):
    folder = tmp_path / "images"
    for tint, name in enumerate(("red", "green", "blue")):
        write_image(folder / name / "0.png", tint, tint)
    (folder / "loop").symlink_to("loop")
    (folder / "red" / "itself").symlink_to(folder / "red")
    (folder / "red" / "all").symlink_to(folder)
    (folder / "blue" / "loop").symlink_to("loop")
    report = etl(folder, tmp_path / "w")
    assert (report.status, report.skipped) == ("finished", {})
    paths = {path for (path,) in rows(tmp_path / "w", "SELECT path FROM images")}
    assert {"red/0.png", "green/0.png", "blue/0.png", "red/all/green/0.png"} <= paths
    assert len(paths) < 9


NAMES = [
    'it\'s "quoted"; DROP TABLE images; --',
    "new\nline\r\ttab",
    "🦩 émoji",
    "<b onclick='x'>bold<b>",
    "%s {} \\",
    "  ",
]


def test_names_of_any_kind_come_through(tmp_path, oddnets):
    folder, target = tmp_path / "it's <i>images</i>", tmp_path / 'w "ü"\n🦩'
    for seed, name in enumerate(NAMES):
        write_image(folder / name / f"{name}.png", seed, 0)
    report = etl(folder, target, ["python:oddnets:six_classes"])
    assert (report.status, report.computed) == ("finished", len(NAMES))
    found = rows(target, "SELECT class_name, path FROM class_accuracy JOIN images USING (class_id)")
    assert sorted(found) == sorted((name, f"{name}/{name}.png") for name in NAMES)
    with warehouse.open(target) as w:
        assert {w.image(i).class_name for i in range(len(NAMES))} == set(NAMES)


@pytest.mark.parametrize("where", ["images/red/caf\udce9.png", "images/caf\udce9/0.png", "caf\udce9/red/0.png"])
def test_names_that_no_table_can_hold_are_refused(tmp_path, factories, where):
    write_image(tmp_path / "images" / "red" / "0.png", 0, 0)
    path = tmp_path / where
    try:
        write_image(path, 0, 0)
    except OSError:
        pytest.skip("this file system takes names in UTF-8 only")
    with pytest.raises(DatasetError, match=r"caf\\xe9.* is not UTF-8; rename it") as raised:
        etl(path.parents[1], tmp_path / "w")
    str(raised.value).encode()


# Models ---------------------------------------------------------------------------------------------------------------

ODD = '''
import torch
from torch import nn
from tinynets import NAMES, make, small, transform

class Wrapped(nn.Module):
    """A good model with something odd about its output, or from some batch on."""
    def __init__(self, change):
        super().__init__()
        self.net, self.change, self.batches = small()[0], change, 0
    def forward(self, x):
        self.batches += len(x) > 1
        return self.change(self.net(x), self.batches)

def wrapped(change): return Wrapped(change), transform(), NAMES

def a_tuple(): return wrapped(lambda y, n: (y, torch.zeros(1)))
def a_dict(): return wrapped(lambda y, n: {"features": torch.zeros(len(y), 4, 2), "logits": y})
def a_list(): return wrapped(lambda y, n: [None, y])
def in_double(): return wrapped(lambda y, n: y.double())
def nothing(): return wrapped(lambda y, n: None)
def whole_numbers(): return wrapped(lambda y, n: y.argmax(1))
def one_number(): return wrapped(lambda y, n: y.mean())
def an_image(): return wrapped(lambda y, n: y[:, :, None, None].expand(-1, -1, 4, 4))
def nan_later(): return wrapped(lambda y, n: y * float("nan") if n > 2 else y)
def raises_later(): return wrapped(lambda y, n: 1 / 0 if n > 2 else y)
def fewer_classes_later(): return wrapped(lambda y, n: y[:, :2] if n > 2 else y)
def fewer_images_later(): return wrapped(lambda y, n: y[1:] if n > 2 else y)
def five_classes(): return make(4, 0, outputs=5, names=None)
def six_classes(): return make(4, 0, outputs=6, names=None)
def two_classes(): return make(4, 0, outputs=2, names=None)
'''


@pytest.fixture
def oddnets(factories, tmp_path):
    """The module ``oddnets``, importable while the test runs."""
    (tmp_path / "code" / "oddnets.py").write_text(ODD)
    yield importlib.import_module("oddnets")
    sys.modules.pop("oddnets", None)


@pytest.mark.parametrize("name", ["a_tuple", "a_dict", "a_list", "in_double"])
def test_outputs_in_wrappings_are_understood(image_folder, oddnets, tmp_path, name):
    odd = f"python:oddnets:{name}"
    report = etl(image_folder, tmp_path / "w", [odd, MODEL], shard_size=5)
    assert (report.status, report.failed) == ("finished", {})
    query = "SELECT * EXCLUDE (model) FROM predictions WHERE model = '{}' ORDER BY image_id"
    assert rows(tmp_path / "w", query.format(odd)) == rows(tmp_path / "w", query.format(MODEL))


BAD = {
    "nothing": "NoneType",
    "whole_numbers": "class scores of shape",
    "one_number": "class scores of shape",
    "an_image": "class scores of shape",
    "nan_later": "not finite",
    "raises_later": "ZeroDivisionError",
    "fewer_images_later": "class scores of shape",
    "five_classes": "5 outputs of unknown names, the class table has 3",
    "two_classes": "2 outputs of unknown names, the class table has 3",
}


@pytest.mark.parametrize("group_size", [1, 20])
def test_models_that_go_wrong_do_not_stop_the_others(image_folder, oddnets, tmp_path, group_size):
    """Whether from the start or in the middle, and whether or not they share their images with the others."""
    table = tmp_path / "classes.csv"
    table.write_text("class_id,wnid,class_name,root_class\n0,,blue,x\n1,,green,x\n2,,red,x\n")
    names = {f"python:oddnets:{name}": reason for name, reason in BAD.items()}
    options = {"classes": table, "shard_size": 2, "group_size": group_size}
    report = etl(image_folder, tmp_path / "w", [*names, MODEL], **options)
    assert (report.status, report.models) == ("finished with errors", [MODEL])
    assert report.failed.keys() == names.keys()
    for name, reason in names.items():
        assert reason in report.failed[name]
        assert "\n" not in report.failed[name]
    assert rows(tmp_path / "w", "SELECT model, images FROM model_accuracy") == [(MODEL, 12)]
    # What was computed before a model went wrong is not shown.
    assert rows(tmp_path / "w", "SELECT DISTINCT model FROM predictions") == [(MODEL,)]


def test_a_model_that_returns_fewer_classes_later_does_not_stop_the_others(image_folder, oddnets, tmp_path):
    odd = "python:oddnets:fewer_classes_later"
    report = etl(image_folder, tmp_path / "w", [odd, MODEL], shard_size=2)
    assert (report.status, report.models) == ("finished with errors", [MODEL])
    assert "shape (2, 2) for 2 images; a classifier returns class scores of shape (2, 3)" in report.failed[odd]


def test_a_model_may_write_to_its_input():
    """The pixels are shared with other models and with later batches."""
    pixels = torch.ones(2, 3, 4, 4).to(memory_format=torch.channels_last)
    CallablePreprocess(lambda image: image).batch(pixels).zero_()
    assert bool((pixels == 1).all())


def test_a_checkpoint_that_would_run_code_is_a_failed_model(image_folder, factories, tmp_path):
    """The others go on, and nothing in the file is executed."""

    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    torch.save({"fc.weight": Bomb()}, tmp_path / "evil.pth")
    evil = f"torchvision:resnet18@{tmp_path / 'evil.pth'}"
    report = etl(image_folder, tmp_path / "w", [evil, MODEL])
    assert report.models == [MODEL]
    assert "holds more than tensors" in report.failed[resolve(evil).canonical]
    assert not (tmp_path / "executed").exists()
