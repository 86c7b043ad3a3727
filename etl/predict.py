"""The inner loop: one classifier over one shard of decoded images."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from etl.cost import latency_ms
from etl.distances import ConfidenceSums
from etl.explain.logits import logits_of
from etl.features import FeatureTap
from etl.models import LoadedModel, ModelError
from etl.scores import feature_rows, prediction_rows, softmax
from warehouse.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from numpy.typing import NDArray

    from etl.decode import ShardPixels
    from warehouse.parts import PartStore

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""Number types of the forward pass; predictions differ a little between them."""


class Runner:
    """A classifier on its device.

    Use it as a context manager: while it is open, the module is on the device and has a hook.

    Parameters
    ----------
    loaded
        The model; its module is moved and cast in place.
    order
        The model output of each class id, see :func:`etl.classes.match_outputs`; None for the identity.
    last_layer
        Whose input the features are, see :func:`etl.features.last_layer`.
    device
        Where to run.
    precision
        A key of :data:`PRECISIONS`.
    batch_size
        Largest number of images in a forward pass; halved whenever the device's memory does not suffice.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        order: Sequence[int] | None,
        last_layer: str | None,
        device: torch.device,
        precision: str,
        batch_size: int,
    ) -> None:
        self.batch_size = batch_size
        self._module = loaded.module
        self._preprocess = loaded.preprocess
        self._order = None if order is None else np.asarray(order)
        self._tap = FeatureTap(loaded.module, last_layer)
        self._device = device
        self._dtype = PRECISIONS[precision]

    def __enter__(self) -> Runner:
        try:
            self._module.to(self._device, self._dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        except torch.OutOfMemoryError as error:
            raise ModelError("the device has not enough memory for it") from error
        self._tap.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tap.__exit__(kind, error, trace)
        self._module.to("cpu")

    def predict(self, pixels: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Classify images.

        Parameters
        ----------
        pixels
            (B, 3, H, W), as the model's preprocessing gives them, stacked.

        Returns
        -------
        logits : ndarray of float32, shape (B, N)
            In the order of the class table.
        features : ndarray of float32, shape (B, d)

        Raises
        ------
        ModelError
            If the model raises, or returns NaN.
        """
        logits, features, start = [], [], 0
        while start < len(pixels):
            batch = pixels[start : start + self.batch_size]
            try:
                y, x = self._forward(batch)
            except torch.OutOfMemoryError as error:
                if self.batch_size == 1:
                    raise ModelError("the device has not enough memory for a single image") from error
                self.batch_size //= 2
                torch.cuda.empty_cache()
                continue
            except UserError:
                raise
            except Exception as error:
                raise ModelError(f"it failed: {type(error).__name__}: {error}") from error
            logits.append(y)
            features.append(x)
            start += len(batch)
        result = torch.cat(logits).numpy()
        if self._order is not None:
            result = np.ascontiguousarray(result[:, self._order])
        return result, torch.cat(features).numpy()

    def latency_ms(self, pixels: Tensor) -> float:
        """Median time of a forward pass for the first of some images, in milliseconds."""
        example = self._preprocess.batch(pixels[:1].to(self._device))
        return latency_ms(self._module, example.to(self._dtype))

    def _forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        with torch.inference_mode():
            x = self._preprocess.batch(pixels.to(self._device, non_blocking=True)).to(self._dtype)
            logits = logits_of(self._module(x), len(x)).float()
            features = self._tap.take(logits)
            # Infinite logits can be meant (a masked class); what has no order cannot.
            if bool(torch.isnan(logits).any()) or bool(torch.isposinf(logits).any()):
                raise ModelError("it returned numbers that are not finite (NaN or infinity)")
            return logits.cpu(), features.cpu()


def write_unit(store: PartStore, key: str, shard: str, runner: Runner, images: ShardPixels, classes: int) -> None:
    """Run one model over one shard and write its parts, the one that marks the unit as done last.

    Parameters
    ----------
    store
        The warehouse's parts.
    key
        The model's key.
    shard
        The shard's name.
    runner
        The model.
    images
        The shard's readable images.
    classes
        Number of classes of the class table.

    Raises
    ------
    ModelError
        If the model fails; nothing is written then.
    """
    if len(images.image_ids):
        logits, features = runner.predict(images.pixels)
    else:
        logits, features = np.empty((0, classes), np.float32), np.empty((0, 1), np.float32)
    confidences = softmax(logits) if len(logits) else logits
    sums = ConfidenceSums(classes)
    sums.add(images.class_ids, confidences)
    store.write("confidences", key, shard, sums.to_arrow())
    store.write("features", key, shard, feature_rows(images.image_ids, features))
    store.write("predictions", key, shard, prediction_rows(images.image_ids, images.class_ids, logits, confidences))


def default_batch_size(device: torch.device, pixels: int) -> int:
    """Choose a batch size that keeps the device busy and fits into its memory.

    Parameters
    ----------
    device
        Where to run.
    pixels
        Number of pixels of one input.
    """
    target = 256 if device.type == "cuda" else 32
    scale = max(pixels / (224 * 224), 1 / 16)
    return max(1, 2 ** round(math.log2(target / scale)))
