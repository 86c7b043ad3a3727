"""Pictograms as arrays, rendered once by all processors and kept in the user's cache folder."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.format import open_memmap

from etl.demo import glyphs, pictograms
from warehouse.files import temporary_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CHUNK = 512


def arrays(
    split: str, images_per_class: int, cache: Path | None = None, workers: int = 2
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All images of a split, and their classes.

    Image ``i`` is number ``i // 64`` of class ``i % 64``: the first ``64 n`` images are ``n`` of each class.

    Parameters
    ----------
    split
        ``"train"``, ``"validation"`` or ``"test"``.
    images_per_class
        Number of images of each class.
    cache
        Folder for the ``.npy`` files; the user's cache folder by default. The name of a file holds a digest of some
        drawn images, so that a file does not outlive a change to how images are drawn.
    workers
        Number of processes that draw.

    Returns
    -------
    images : ndarray of uint8, shape (64 * images_per_class, 96, 96, 3)
        Memory-mapped, read-only.
    labels : ndarray of int64, shape (64 * images_per_class,)

    Raises
    ------
    ValueError
        If the split does not exist.
    ImportError
        If ``fontawesomefree`` is not installed.
    """
    if split not in pictograms.SPLITS:
        raise ValueError(f"split is one of {', '.join(pictograms.SPLITS)}, not {split!r}")
    glyphs.font_path()
    classes = len(glyphs.CLASSES)
    count = classes * images_per_class
    labels = np.arange(count, dtype=np.int64) % classes
    cache = default_cache() if cache is None else cache
    path = cache / f"{split}-{images_per_class}-{pictograms.digest()}.npy"
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with temporary_path(path) as partial:
            _render_all(partial, split, count, workers)
            partial.replace(path)
    return np.load(path, mmap_mode="r"), labels


def default_cache() -> Path:
    """``vacpanel`` in the user's cache folder (``XDG_CACHE_HOME``, else ``~/.cache``)."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "vacpanel"


def _render_all(path: Path, split: str, count: int, workers: int) -> None:
    size = pictograms.SIZE
    open_memmap(path, mode="w+", dtype=np.uint8, shape=(count, size, size, 3)).flush()  # each worker maps it itself
    starts = range(0, count, _CHUNK)
    if workers < 2 or count <= _CHUNK:
        for start in starts:
            _render_chunk(path, split, start, min(start + _CHUNK, count))
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        tasks = [pool.submit(_render_chunk, path, split, s, min(s + _CHUNK, count)) for s in starts]
        for task in tasks:
            task.result()


def _render_chunk(path: Path, split: str, start: int, stop: int) -> None:
    images = open_memmap(path, mode="r+")
    classes = len(glyphs.CLASSES)
    for i in range(start, stop):
        images[i] = pictograms.render(i % classes, i // classes, split).image
    images.flush()
