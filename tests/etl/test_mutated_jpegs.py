"""Three hundred damaged JPEG files: each is decoded as Pillow decodes it, or skipped with a reason."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from PIL import Image

import warehouse
from etl import run
from etl.images import UnreadableImage, read_image

FILES = 300


def jpegs(rng):
    """Kinds of JPEG that cameras and programs write: progressive, grayscale, CMYK, with EXIF, of odd sizes."""
    kinds = [("RGB", {}), ("RGB", {"progressive": True}), ("L", {}), ("CMYK", {}), ("RGB", {"subsampling": 2})]
    for mode, options in kinds:
        size = rng.integers(8, 90, 2)
        noise = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        smooth = Image.fromarray(noise).resize((int(size[0]) * 2, int(size[1]) * 2)).convert(mode)
        exif = Image.Exif()
        exif[0x0112] = int(rng.integers(1, 9))
        file = io.BytesIO()
        smooth.save(file, "JPEG", quality=int(rng.integers(30, 96)), exif=exif, **options)
        yield file.getvalue()


def mutated(data, rng):
    """Flip some bytes, cut the file off, cut a piece out, or put noise in."""
    damaged = bytearray(data)
    where = int(rng.integers(0, len(data)))
    length = int(rng.integers(1, 40))
    match rng.integers(4):
        case 0:
            for at in rng.integers(0, len(data), int(rng.integers(1, 12))):
                damaged[at] ^= int(rng.integers(1, 256))
        case 1:
            del damaged[where:]
        case 2:
            del damaged[where : where + length]
        case _:
            damaged[where:where] = rng.bytes(length)
    return bytes(damaged)


def as_pillow(data):
    """What Pillow decodes, or None where it fails."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
                return np.asarray(image.convert("RGB"))
        except Exception:  # noqa: BLE001 - whatever it raises
            return None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The damaged files, and one that is whole."""
    root, rng = tmp_path_factory.mktemp("mutated") / "images", np.random.default_rng(20)
    (root / "red").mkdir(parents=True)
    whole = [data for _ in range(12) for data in jpegs(rng)]
    for number in range(FILES):
        (root / "red" / f"{number:03d}.jpg").write_bytes(mutated(whole[number % len(whole)], rng))
    (root / "red" / "whole.jpg").write_bytes(whole[0])
    return root


def read(path):
    """Pixels and an empty reason, or None and the reason."""
    try:
        return np.asarray(read_image(path).image), ""
    except UnreadableImage as error:
        return None, str(error)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about what it reads nevertheless
def test_each_is_decoded_as_pillow_does_or_has_a_reason(folder):
    decoded = 0
    for path in sorted(folder.rglob("*.jpg")):
        expected, (pixels, reason) = as_pillow(path.read_bytes()), read(path)
        if expected is None:
            assert pixels is None, path.name
            assert reason.strip()
            assert "\n" not in reason
        else:
            assert np.array_equal(pixels, expected), path.name
            decoded += 1
    assert FILES * 0.2 < decoded < FILES * 0.9  # else this would test one of the two only


def test_an_etl_takes_in_what_can_be_decoded_and_lists_the_rest(folder, factories, tmp_path):
    model = "python:tinynets:small"
    report = run(folder, [model], tmp_path / "w", device="cpu", progress=False, image_layout=False)
    readable = {path.name: as_pillow(path.read_bytes()) for path in folder.rglob("*.jpg")}
    good = {f"red/{name}" for name, pixels in readable.items() if pixels is not None}
    with warehouse.open(tmp_path / "w") as w:
        skipped = dict(w.sql("SELECT path, reason FROM skipped_images").fetchall())
        seen = w.sql("SELECT path FROM predictions JOIN images USING (image_id)").fetchall()
    assert (report.status, report.images, report.skipped) == ("finished", FILES + 1, skipped)
    assert {path for (path,) in seen} == good
    assert len(seen) == len(good)
    assert skipped.keys() == {f"red/{name}" for name in readable} - good
    assert all(skipped.values())
