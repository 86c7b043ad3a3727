"""Image files that nobody vouches for."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets.folder import pil_loader

from etl import images
from etl.images import UnreadableImage, open_image, read_image


def base(mode="RGB", size=(31, 17)):
    array = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(array).convert(mode)


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("a.jpg", "RGB"),
        ("a.jpg", "L"),
        ("a.jpg", "CMYK"),
        ("a.png", "P"),
        ("a.png", "RGBA"),
        ("a.png", "LA"),
        ("a.png", "1"),
        ("a.png", "I;16"),
        ("a.tiff", "RGB"),
        ("a.webp", "RGB"),
        ("a.bmp", "RGB"),
        ("a.gif", "P"),
        ("a.ppm", "RGB"),
    ],
)
def test_reads_as_torchvision_does(tmp_path, name, mode):
    path = tmp_path / name
    if mode == "I;16":
        Image.fromarray(np.arange(31 * 17, dtype=np.uint16).reshape(17, 31) * 100).save(path)
    else:
        base(mode).save(path)
    image = open_image(path)
    assert image.mode == "RGB"
    assert np.array_equal(np.asarray(image), np.asarray(pil_loader(path)))


def test_exif_orientation_is_not_applied_as_in_torchvision(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    base().save(tmp_path / "a.jpg", exif=exif)
    assert open_image(tmp_path / "a.jpg").size == (31, 17)


def test_first_frame_of_an_animation(tmp_path):
    first, second = base(), Image.new("RGB", (31, 17))
    first.save(tmp_path / "a.png", save_all=True, append_images=[second])
    assert np.array_equal(np.asarray(open_image(tmp_path / "a.png")), np.asarray(first))


def test_knows_size_and_digest(tmp_path):
    base().save(tmp_path / "a.png")
    decoded = read_image(tmp_path / "a.png")
    assert (decoded.width, decoded.height) == (31, 17)
    import hashlib

    assert decoded.sha256 == hashlib.sha256((tmp_path / "a.png").read_bytes()).hexdigest()


def test_a_wrong_suffix_does_not_matter(tmp_path):
    base().save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert open_image(tmp_path / "a.jpg").size == (31, 17)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"this is a text file, renamed", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n", "not an image"),
    ],
)
def test_what_is_no_image(tmp_path, content, reason):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(UnreadableImage, match=reason):
        open_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_truncated(tmp_path, name):
    base(size=(200, 200)).save(tmp_path / name)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(UnreadableImage, match="cannot be decoded"):
        open_image(tmp_path / name)


def test_too_many_pixels(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "PIXEL_LIMIT", 500)
    base().save(tmp_path / "a.png")  # 527 pixels
    with pytest.raises(UnreadableImage, match="too large"):
        open_image(tmp_path / "a.png")


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(UnreadableImage, match="cannot be read"):
        open_image(tmp_path / "a.png")
    with pytest.raises(UnreadableImage, match="cannot be read"):
        open_image(tmp_path)
