"""Decoding shards: each file once for all models of a unit, in threads, small data sets kept in memory."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from etl.images import UnreadableImage, read_image
from etl.models import ModelError
from etl.registry import EVERY_MODEL, Shard
from warehouse.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from etl.preprocess import Preprocessing
    from warehouse.parts import PartStore

MEMORY_BUDGET = 1 << 30
"""Bytes of decoded pixels that are kept from one unit to others of the same shard."""


class NoReadableImage(UserError):  # noqa: N818 - says what is the case
    """None of the images of a data set can be decoded."""


@dataclass(frozen=True)
class ShardPixels:
    """The readable images of a shard as one kind of preprocessing sees them.

    Attributes
    ----------
    image_ids, class_ids
        int32, shape (n,).
    pixels
        (n, 3, H, W), channels_last; see :meth:`etl.preprocess.Preprocessing.pixels`.
    """

    image_ids: NDArray[np.int32]
    class_ids: NDArray[np.int32]
    pixels: Tensor


class _Outcome(NamedTuple):
    """One file: what decoding told, and its pixels (or the failure) by kind of preprocessing."""

    width: int | None
    height: int | None
    sha256: str | None
    reason: str | None
    pixels: dict[str, Tensor | ModelError]


class Decoder:
    """Reads image files, and remembers what fits into memory. Safe to use from several threads.

    Parameters
    ----------
    store
        The warehouse's parts; what decoding tells about the images of a shard is written there once.
    pinned
        Whether to keep pixels in page-locked memory, from which a GPU takes them without waiting.
    """

    def __init__(self, store: PartStore, pinned: bool = False) -> None:
        self._store = store
        self._pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="decode")
        self._pinned = pinned
        self._free = MEMORY_BUDGET
        self._kept: dict[tuple[str, str], ShardPixels] = {}
        self._lock = threading.Lock()  # of what is kept

    def close(self) -> None:
        """Stop the threads and forget the pixels."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._kept.clear()

    def decode(
        self, shard: Shard, kinds: Mapping[str, Preprocessing], keep: bool = True
    ) -> dict[str, ShardPixels | ModelError]:
        """Decode a shard for several models.

        Parameters
        ----------
        shard
            The images.
        kinds
            Preprocessing by fingerprint; each is applied once.
        keep
            Whether the pixels will be wanted again, and are worth the memory.

        Returns
        -------
        dict of str to ShardPixels or ModelError
            By fingerprint. An error is that of a user's transform, and concerns the models that use it.
        """
        result: dict[str, ShardPixels | ModelError] = {
            kind: self._kept[shard.name, kind] for kind in kinds if (shard.name, kind) in self._kept
        }
        missing = {kind: preprocess for kind, preprocess in kinds.items() if kind not in result}
        if not missing:
            return result
        known = self._reasons(shard)
        outcomes = list(
            self._pool.map(
                lambda path, reason: _skip(reason) if reason else _read(str(shard.root / path), missing),
                shard.paths,
                known if known is not None else [None] * len(shard),
            )
        )
        if known is None:
            self._store.write("decoded", EVERY_MODEL, shard.name, _decoded_rows(shard, outcomes))
        rows = np.flatnonzero([outcome.reason is None for outcome in outcomes])
        for kind in missing:
            result[kind] = self._gather(shard, kind, rows, [outcomes[row].pixels[kind] for row in rows], keep)
        return result

    def _reasons(self, shard: Shard) -> list[str | None] | None:
        """Why images were skipped when the shard was decoded first; None if it was not."""
        if not self._store.exists("decoded", EVERY_MODEL, shard.name):
            return None
        reasons: list[str | None] = self._store.read("decoded", EVERY_MODEL, shard.name)["reason"].to_pylist()
        return reasons

    def _gather(
        self, shard: Shard, kind: str, rows: NDArray[np.intp], pixels: list[Tensor | ModelError], keep: bool
    ) -> ShardPixels | ModelError:
        tensors: list[Tensor] = []
        for item in pixels:
            if isinstance(item, ModelError):
                return item
            tensors.append(item)
        shapes = {tuple(t.shape) for t in tensors}
        if len(shapes) > 1:
            return ModelError(f"its preprocessing gives images of different sizes, such as {sorted(shapes)[:2]}")
        stacked = torch.stack([t.permute(1, 2, 0) for t in tensors]).permute(0, 3, 1, 2) if tensors else torch.empty(0)
        if self._pinned and tensors:
            stacked = stacked.pin_memory()
        gathered = ShardPixels(shard.image_ids[rows], shard.class_ids[rows], stacked)
        size = stacked.numel() * stacked.element_size()
        with self._lock:
            if keep and size <= self._free and (shard.name, kind) not in self._kept:
                self._free -= size
                self._kept[shard.name, kind] = gathered
        return gathered


def example_of(shards: Iterable[Shard], preprocess: Preprocessing) -> Tensor:
    """Read the first readable image as a model sees it, (1, 3, H, W).

    Raises
    ------
    NoReadableImage
        If no image can be read.
    ModelError
        If the model's preprocessing fails.
    """
    first: UnreadableImage | None = None
    for shard in shards:
        for path in shard.paths:
            outcome = _read(str(shard.root / path), {"": preprocess})
            pixels = outcome.pixels.get("")
            if isinstance(pixels, ModelError):
                raise pixels
            if pixels is not None:
                return pixels[None]
            first = first or UnreadableImage(f"{path}: {outcome.reason}")
    raise NoReadableImage(f"None of the images can be read; the first is {first}.")


def _read(path: str, kinds: Mapping[str, Preprocessing]) -> _Outcome:
    try:
        decoded = read_image(path)
    except UnreadableImage as error:
        return _skip(str(error))
    pixels: dict[str, Tensor | ModelError] = {}
    for kind, preprocess in kinds.items():
        try:
            pixels[kind] = preprocess.pixels(decoded.image)
        except Exception as error:  # noqa: BLE001 - a user's transform may raise anything
            pixels[kind] = ModelError(f"its preprocessing failed: {type(error).__name__}: {error}")
    return _Outcome(decoded.width, decoded.height, decoded.sha256, None, pixels)


def _skip(reason: str) -> _Outcome:
    return _Outcome(None, None, None, reason, {})


def _decoded_rows(shard: Shard, outcomes: list[_Outcome]) -> pa.Table:
    return pa.table(
        {
            "image_id": pa.array(shard.image_ids, pa.int32()),
            "width": pa.array([o.width for o in outcomes], pa.int32()),
            "height": pa.array([o.height for o in outcomes], pa.int32()),
            "sha256": pa.array([o.sha256 for o in outcomes], pa.string()),
            "reason": pa.array([o.reason for o in outcomes], pa.string()),
        }
    )
