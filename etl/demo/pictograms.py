"""Pictograms in clutter: the demo's images, drawn from a seed and the same on every machine.

Each image shows one glyph of :mod:`etl.demo.glyphs`, tilted, stretched, textured and partly covered, on multi-octave
colour noise among distractor shapes; :mod:`etl.demo.scene` draws the parts.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageFilter

from etl.demo import scene
from etl.demo.glyphs import CLASSES, font_path
from etl.demo.scene import SIZE
from warehouse import files

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

SPLITS: dict[str, int] = {"train": 0, "validation": 1, "test": 2}
"""The splits, and the number that each contributes to its images' seeds."""

OBJECTS = "objects.parquet"
"""Name of the table of boxes and masks that :func:`write` puts beside the class folders."""

_OBJECT_SCHEMA = pa.schema(
    [("path", pa.string()), ("class_id", pa.int32())]
    + [(side, pa.int32()) for side in ("left", "top", "right", "bottom")]
    + [("mask", pa.binary())]
)


class Pictogram(NamedTuple):
    """One image and the truth about it."""

    image: NDArray[np.uint8]
    """RGB, shape (96, 96, 3)."""
    mask: NDArray[np.bool_]
    """True on the glyph's visible pixels, shape (96, 96)."""
    box: tuple[int, int, int, int]
    """Bounds of ``mask`` in pixels: left, top, right, bottom; right and bottom are exclusive."""


def render(class_id: int, k: int, split: str = "test") -> Pictogram:
    """Draw image ``k`` of a class.

    Parameters
    ----------
    class_id
        In ``range(64)``, see :data:`etl.demo.glyphs.CLASSES`.
    k
        Number of the image within its class and split, from 0.
    split
        ``"train"``, ``"validation"`` or ``"test"``; no two splits share a seed.

    Returns
    -------
    Pictogram
        The image, the mask of the glyph's visible pixels and its bounding box.

    Raises
    ------
    ValueError
        If the class, the number or the split does not exist.
    ImportError
        If ``fontawesomefree`` is not installed.
    """
    if split not in SPLITS:
        raise ValueError(f"split is one of {', '.join(SPLITS)}, not {split!r}")
    if not 0 <= class_id < len(CLASSES) or k < 0:
        raise ValueError(f"there is no image {k} of class {class_id}; classes are 0 to {len(CLASSES) - 1}")
    draws = scene.Draws(20220, SPLITS[split], class_id, k)
    clutter = draws.uniform(0.0, 1.0)
    amplitude = draws.uniform(15.0, 35.0 + 65.0 * clutter)
    background = scene.noise(draws, draws.colour(), octaves=2 + int(4 * clutter), amplitude=amplitude)
    canvas = Image.fromarray(background)
    scene.scatter(canvas, draws, count=draws.integer(0, 1 + int(6 * clutter)))

    coverage = scene.place(draws, class_id)
    colour = scene.contrasting(draws, canvas)
    texture = scene.noise(draws, colour, octaves=draws.integer(1, 4), amplitude=draws.uniform(10, 60))
    canvas.paste(Image.fromarray(texture), (0, 0), coverage)
    mask = np.asarray(coverage) >= 128
    mask &= ~scene.cover(canvas, draws, mask)

    radius = draws.uniform(0.0, 1.0)
    if radius > 0.25:
        canvas = canvas.filter(ImageFilter.BoxBlur(radius))
    noise = draws.pixels(2, SIZE, SIZE, 3).astype(np.int32)
    grain = (noise[0] + noise[1] - 255) * draws.integer(0, 8 + int(32 * clutter))
    image = np.clip(np.asarray(canvas) + (grain >> 8), 0, 255).astype(np.uint8)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    return Pictogram(image, mask, box)


@lru_cache(maxsize=1)
def digest() -> str:
    """Return twelve hexadecimal digits that change when the drawing of images changes.

    Raises
    ------
    ImportError
        If ``fontawesomefree`` is not installed.
    """
    content = hashlib.sha256()
    for known in CLASSES:
        content.update(render(known.class_id, 0, "train").image.tobytes())
    return content.hexdigest()[:12]


def write(
    folder: str | os.PathLike[str],
    images_per_class: int = 25,
    split: str = "test",
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a split as an image folder, unless it is there already.

    The folder gets ``<class_name>/<k>.png`` (four digits), ``classes.csv`` (``class_id,wnid,class_name,root_class``;
    ``wnid`` is empty) and, last, ``objects.parquet``: ``path`` (relative, with slashes), ``class_id``, the box
    ``left, top, right, bottom`` in pixels and ``mask``, a one-bit PNG. Every file appears in one step, so that a
    killed call leaves no half image, and a call after it completes the set. Images that an earlier call with more
    images per class wrote are removed; nothing else is.

    Parameters
    ----------
    folder
        Made if it does not exist.
    images_per_class
        At least 1; the set has 64 times as many images.
    split
        ``"train"``, ``"validation"`` or ``"test"``.
    progress
        Called after each image, from one thread at a time, with the images done and their total number.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    ValueError
        If the split does not exist or no image is asked for.
    ImportError
        If ``fontawesomefree`` is not installed.
    OSError
        If the folder cannot be written.
    """
    if split not in SPLITS:
        raise ValueError(f"split is one of {', '.join(SPLITS)}, not {split!r}")
    if images_per_class < 1:
        raise ValueError(f"images_per_class is at least 1, not {images_per_class}")
    font_path()
    folder = Path(folder)
    tasks = [(c.class_id, k) for c in CLASSES for k in range(images_per_class)]
    identity = f"{split} {images_per_class} {digest()}".encode()
    if not _complete(folder, identity, tasks):
        (folder / OBJECTS).unlink(missing_ok=True)  # the mark of a complete set
        for known in CLASSES:
            (folder / known.class_name).mkdir(parents=True, exist_ok=True)
            for surplus in _surplus(folder / known.class_name, images_per_class):
                surplus.unlink(missing_ok=True)
        rows = []
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            for row in pool.map(lambda task: _write_image(folder, task[0], task[1], split), tasks):
                rows.append(row)
                if progress is not None:
                    progress(len(rows), len(tasks))
        _write_classes(folder / "classes.csv")
        table = pa.Table.from_pylist(rows, _OBJECT_SCHEMA.with_metadata({"pictograms": identity}))
        with files.temporary_path(folder / OBJECTS) as temporary:
            pq.write_table(table, temporary)
            files.replace(temporary, folder / OBJECTS)
    elif progress is not None:
        progress(len(tasks), len(tasks))
    return folder


def _name(class_id: int, k: int) -> str:
    return f"{CLASSES[class_id].class_name}/{k:04d}.png"


def _complete(folder: Path, identity: bytes, tasks: list[tuple[int, int]]) -> bool:
    try:
        metadata = pq.read_schema(folder / OBJECTS).metadata or {}
    except (OSError, pa.ArrowException):
        return False
    expected = ["classes.csv", *(_name(*task) for task in tasks)]
    return metadata.get(b"pictograms") == identity and all((folder / name).is_file() for name in expected)


def _surplus(folder: Path, images_per_class: int) -> list[Path]:
    """Images of an earlier, larger set, and what killed calls left of files that they were writing."""
    found = []
    for path in folder.glob("*.png"):
        if path.name.startswith(files.TEMPORARY):
            writer = path.name.removeprefix(files.TEMPORARY).split("-")[0]
            if writer.isdecimal() and not files.process_is_alive(int(writer)):
                found.append(path)
        elif path.stem.isdecimal() and f"{int(path.stem):04d}" == path.stem and int(path.stem) >= images_per_class:
            found.append(path)
    return found


def _write_image(folder: Path, class_id: int, k: int, split: str) -> dict[str, object]:
    picture = render(class_id, k, split)
    name = _name(class_id, k)
    with files.temporary_path(folder / name) as temporary:
        temporary.write_bytes(_png(picture.image))
        temporary.replace(folder / name)
    box = dict(zip(("left", "top", "right", "bottom"), picture.box, strict=True))
    return {"path": name, "class_id": class_id, **box, "mask": _png(picture.mask)}


def _png(pixels: NDArray[np.uint8] | NDArray[np.bool_]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format="PNG", compress_level=1)
    return content.getvalue()


def _write_classes(path: Path) -> None:
    content = io.StringIO()
    rows = csv.writer(content, lineterminator="\n")
    rows.writerow(("class_id", "wnid", "class_name", "root_class"))
    rows.writerows((c.class_id, "", c.class_name, c.root_class) for c in CLASSES)
    files.replace_text(path, content.getvalue())
