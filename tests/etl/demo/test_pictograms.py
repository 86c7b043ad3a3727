from __future__ import annotations

import csv
import hashlib
import io
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from PIL import Image

from etl.demo import pictograms
from etl.demo.dataset import arrays
from etl.demo.glyphs import CLASSES
from etl.demo.pictograms import OBJECTS, SPLITS, digest, render, write

if TYPE_CHECKING:
    from pathlib import Path

# The shipped weights were trained and measured on exactly these images; they may never change.
PINNED = {
    ("test", 0, 0): "df22136213bea0bd4c301db14ad43d2d97ae01d235850e481b2e0794d68733eb",
    ("test", 63, 24): "dac8d2aecabb6ea64b98ad7676738492d149dea60980a93559efd274aedc3205",
    ("train", 17, 3): "b637a978848769446ddfd7648a53fcce70240f4e6f669b0f995891284f03a87a",
    ("validation", 40, 7): "dbbf7e7eae24e38030668f5eea147186c1ef96585de81312fe290781eb2edd6a",
}
EVERY_SPLIT_AND_CLASS = [(c % 64, c // 64 + c % 25, tuple(SPLITS)[c % 3]) for c in range(200)]


@pytest.mark.parametrize(("split", "class_id", "k"), PINNED)
def test_an_image_is_the_same_on_every_machine(split: str, class_id: int, k: int) -> None:
    image = render(class_id, k, split).image
    assert hashlib.sha256(image.tobytes()).hexdigest() == PINNED[split, class_id, k]


def test_masks_and_boxes_are_the_same_on_every_machine() -> None:
    picture = render(63, 24, "test")
    assert hashlib.sha256(picture.mask.tobytes()).hexdigest().startswith("ab3333b0775f47e4")
    assert picture.box == (5, 6, 75, 82)


def test_an_image_does_not_depend_on_what_was_drawn_before() -> None:
    first = render(5, 9, "test")
    for k in range(3):
        render(40, k, "train")
    again = render(5, 9, "test")
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.mask, again.mask)


def test_splits_numbers_and_classes_give_different_images() -> None:
    pictures = {render(c, k, s).image.tobytes() for c in (0, 1, 63) for k in range(4) for s in SPLITS}
    assert len(pictures) == 3 * 4 * len(SPLITS)


@pytest.mark.parametrize(("class_id", "k", "split"), EVERY_SPLIT_AND_CLASS[:200:5])
def test_shapes_and_types(class_id: int, k: int, split: str) -> None:
    image, mask, _ = render(class_id, k, split)
    assert (image.shape, image.dtype) == ((96, 96, 3), np.uint8)
    assert (mask.shape, mask.dtype) == ((96, 96), np.bool_)


def test_boxes_bound_masks_and_enough_of_every_glyph_is_visible() -> None:
    for class_id, k, split in EVERY_SPLIT_AND_CLASS:
        _, mask, (left, top, right, bottom) = render(class_id, k, split)
        inside = mask[top:bottom, left:right]
        assert inside.sum() == mask.sum()
        assert inside[0].any()
        assert inside[-1].any()
        assert inside[:, 0].any()
        assert inside[:, -1].any()
        assert 200 < mask.sum() < 4500, (class_id, k, split)
        assert max(right - left, bottom - top) > 24


def test_the_glyph_differs_from_what_surrounds_it() -> None:
    contrast = []
    for class_id, k, split in EVERY_SPLIT_AND_CLASS:
        image, mask, _ = render(class_id, k, split)
        contrast.append(np.abs(image[mask].mean(axis=0) - image[~mask].mean(axis=0)).mean())
    assert np.median(contrast) > 40
    assert np.quantile(contrast, 0.02) > 10


@pytest.mark.parametrize(
    ("class_id", "k", "split"), [(64, 0, "test"), (-1, 0, "test"), (0, -1, "test"), (0, 0, "tset")]
)
def test_what_does_not_exist_is_refused(class_id: int, k: int, split: str) -> None:
    with pytest.raises(ValueError, match=r"there is no image|split is one of"):
        render(class_id, k, split)


def test_arrays_hold_the_rendered_images(tmp_path: Path) -> None:
    images, labels = arrays("validation", 2, tmp_path, workers=1)
    assert images.shape == (128, 96, 96, 3)
    assert labels.tolist() == [*range(64), *range(64)]
    np.testing.assert_array_equal(images[64 + 7], render(7, 1, "validation").image)
    assert [p.name for p in tmp_path.iterdir()] == [f"validation-2-{digest()}.npy"]


def test_write_makes_an_image_folder(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    folder = write(tmp_path / "set", 2, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(n, 128) for n in range(1, 129)]
    assert {p.name for p in folder.iterdir() if p.is_dir()} == {c.class_name for c in CLASSES}
    with Image.open(folder / "ice cream" / "0001.png") as image:
        np.testing.assert_array_equal(np.asarray(image), render(22, 1).image)

    with (folder / "classes.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(int(r["class_id"]), r["wnid"], r["class_name"], r["root_class"]) for r in rows] == [
        (c.class_id, "", c.class_name, c.root_class) for c in CLASSES
    ]

    objects = pl.read_parquet(folder / OBJECTS)
    assert objects.columns == ["path", "class_id", "left", "top", "right", "bottom", "mask"]
    assert set(objects["path"]) == {f"{c.class_name}/{k:04d}.png" for c in CLASSES for k in range(2)}
    row = objects.row(by_predicate=pl.col("path") == "ice cream/0001.png", named=True)
    picture = render(22, 1)
    assert (row["left"], row["top"], row["right"], row["bottom"]) == picture.box
    with Image.open(io.BytesIO(row["mask"])) as mask:
        assert mask.mode == "1"
        np.testing.assert_array_equal(np.asarray(mask), picture.mask)


def test_a_complete_set_is_not_written_again(tmp_path: Path) -> None:
    write(tmp_path, 1)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    assert len(before) == 66
    calls: list[tuple[int, int]] = []
    write(tmp_path, 1, progress=lambda done, total: calls.append((done, total)))
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()} == before
    assert calls == [(64, 64)]


def test_a_damaged_set_is_completed_and_a_larger_one_cut_back(tmp_path: Path) -> None:
    write(tmp_path, 2)
    (tmp_path / "cat" / "0000.png").unlink()
    (tmp_path / "dog" / "mine.png").write_bytes(b"the user's own")
    (tmp_path / "dog" / ".tmp-4194304999-abc-0000.png").write_bytes(b"left by a killed process")
    write(tmp_path, 1)
    assert len(list(tmp_path.glob("*/*.png"))) == 64 + 1
    assert (tmp_path / "cat" / "0000.png").is_file()
    assert (tmp_path / "dog" / "mine.png").is_file()
    assert pl.read_parquet(tmp_path / OBJECTS).height == 64


def test_an_interrupted_set_has_no_half_image_and_no_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    png = pictograms._png
    calls = 0

    def failing(pixels: np.ndarray) -> bytes:
        nonlocal calls
        calls += 1
        if calls > 40:
            raise OSError(28, "No space left on device")
        return png(pixels)

    digest()  # rendered before the disk fills
    monkeypatch.setattr(pictograms, "_png", failing)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path, 1)
    assert not (tmp_path / OBJECTS).exists()
    written = list(tmp_path.rglob("*.png"))
    assert 0 < len(written) < 64
    for path in written:
        with Image.open(path) as image:
            image.load()
    monkeypatch.undo()
    write(tmp_path, 1)
    assert pl.read_parquet(tmp_path / OBJECTS).height == len(list(tmp_path.rglob("*.png"))) == 64


@pytest.mark.parametrize(("images_per_class", "split"), [(0, "test"), (1, "tset")])
def test_write_refuses_what_it_cannot_do(tmp_path: Path, images_per_class: int, split: str) -> None:
    with pytest.raises(ValueError, match=r"images_per_class is at least 1|split is one of"):
        write(tmp_path, images_per_class, split)
    assert not list(tmp_path.iterdir())
