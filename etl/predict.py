"""The inner loop: one classifier over one shard of decoded images."""

from __future__ import annotations

import math
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from etl.cost import latency_ms
from etl.distances import ConfidenceSums
from etl.explain.folding import fold_batch_norms
from etl.explain.logits import logits_of
from etl.explain.merging import Merging, can_merge, mergeable
from etl.explain.overwriting import overwritable, overwriting
from etl.features import FeatureTap
from etl.models import LoadedModel, ModelError
from etl.scores import feature_rows, prediction_rows, softmax
from warehouse.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from numpy.typing import NDArray
    from torch import nn

    from etl.decode import ShardPixels
    from warehouse.parts import PartStore

PRECISIONS = {"float32": torch.float32, "tf32": torch.float32, "bfloat16": torch.bfloat16}
"""Number types of the forward pass; predictions differ a little between them. TF32 exists on NVIDIA GPUs only."""


class Aborted(Exception):  # noqa: N818 - somebody pressed Ctrl-C twice
    """Raised between two batches when nobody waits for the end of the shard."""


class Runner:
    """A classifier on its device: the same function, faster.

    Its batch normalisations are folded into its convolutions, activation functions write over what nobody else reads,
    and on a CPU convolutions are merged with what follows them (:mod:`etl.explain.merging`).

    Use it as a context manager: while it is open, the module is on the device and has a hook.

    Parameters
    ----------
    loaded
        The model; its module is moved, folded and cast in place.
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
    aborted
        Asked before each forward pass; true raises :class:`Aborted`.

    Attributes
    ----------
    batch_size
        As it is now.
    preprocess
        The model's preprocessing.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        order: Sequence[int] | None,
        last_layer: str | None,
        device: torch.device,
        precision: str,
        batch_size: int,
        aborted: Callable[[], bool] = lambda: False,
    ) -> None:
        self.batch_size = batch_size
        self._module = loaded.module
        self.preprocess = loaded.preprocess
        self._outputs = loaded.outputs
        self._order = None if order is None else np.asarray(order)
        self._classes = loaded.outputs if order is None else len(order)
        self._tap = FeatureTap(loaded.module, last_layer)
        self._device = device
        self._aborted = aborted
        self._precision = precision
        self._is_prepared = False
        self._overwriting: list[nn.Module] = []
        self._merging: Merging | None = None
        self._dtype = PRECISIONS[precision]

    def __enter__(self) -> Runner:
        try:
            self._module.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
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
        if not len(pixels):
            return np.empty((0, self._classes), np.float32), np.empty((0, 1), np.float32)
        self._prepare(pixels[:1])
        with torch.inference_mode(), float32_math(self._device, tf32=self._precision == "tf32"):
            logits, features = self._forwards(pixels)
            # Infinite logits can be meant (a masked class); what has no order cannot.
            if bool(torch.isnan(logits).any()) or bool(torch.isposinf(logits).any()):
                raise ModelError("it returned numbers that are not finite (NaN or infinity)")
        result = logits.cpu().numpy()
        if self._order is not None:
            result = np.ascontiguousarray(result[:, self._order])
        return result, features.cpu().numpy()

    def latency_ms(self, pixels: Tensor) -> float:
        """Median time of a forward pass for the first of some images, in milliseconds."""
        self._prepare(pixels[:1])
        example = self.preprocess.batch(pixels[:1].to(self._device))
        with float32_math(self._device, tf32=self._precision == "tf32"):
            return latency_ms(self._module, example.to(self._dtype))

    def _prepare(self, pixels: Tensor) -> None:
        """Find out what makes passes faster, once there is an image to do it with; take on the number type wanted."""
        if self._is_prepared:
            return
        try:
            example = self.preprocess.batch(pixels.to(self._device))
            fold_batch_norms(self._module, example)
            with self._tap.away():
                self._overwriting = overwritable(self._module, example)
                plan = None
                if can_merge(self._module, example):
                    with overwriting(self._overwriting):
                        plan = mergeable(self._module, example)
            self._module.to(self._dtype)
            self._merging = None if plan is None else Merging(self._module, plan)
        except torch.OutOfMemoryError as error:
            raise ModelError("the device has not enough memory for a single image") from error
        except UserError:
            raise
        except Exception as error:
            raise ModelError(f"it failed: {type(error).__name__}: {error}") from error
        self._is_prepared = True

    @contextmanager
    def _quickened(self) -> Iterator[None]:
        with overwriting(self._overwriting), nullcontext() if self._merging is None else self._merging.doing():
            yield

    def _forwards(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Classify in batches; returns logits and features on the device, where nothing has waited for them yet."""
        logits, features, start = [], [], 0
        while start < len(pixels):
            if self._aborted():
                raise Aborted
            batch = pixels[start : start + self.batch_size]
            try:
                x = self.preprocess.batch(batch.to(self._device, non_blocking=True)).to(self._dtype)
                with self._quickened():
                    y = logits_of(self._module(x), len(x), self._outputs).float()
                features.append(self._tap.take(y))
                logits.append(y)
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
            start += len(batch)
        return torch.cat(logits), torch.cat(features)


@contextmanager
def float32_math(device: torch.device, *, tf32: bool) -> Iterator[None]:
    """Say how a GPU multiplies float32: in full, or with factors rounded to TF32's ten bits, which is faster.

    torch rounds in convolutions unless told otherwise. Elsewhere than on a GPU this changes nothing.
    """
    if device.type != "cuda":
        yield
        return
    settings = torch.backends.cudnn.conv, torch.backends.cuda.matmul  # type: ignore[attr-defined]
    before = [setting.fp32_precision for setting in settings]
    try:
        for setting in settings:
            setting.fp32_precision = "tf32" if tf32 else "ieee"
        yield
    finally:
        for setting, value in zip(settings, before, strict=True):
            setting.fp32_precision = value


def write_unit(
    store: PartStore,
    key: str,
    shard: str,
    images: ShardPixels,
    logits: NDArray[np.float32],
    features: NDArray[np.float32],
    classes: int,
) -> None:
    """Write the parts of one model over one shard, the one that marks the unit as done last.

    Parameters
    ----------
    store
        The warehouse's parts.
    key
        The model's key.
    shard
        The shard's name.
    images
        The shard's readable images.
    logits, features
        What the model says of them, see :meth:`Runner.predict`.
    classes
        Number of classes of the class table.
    """
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
    # On a CPU larger batches leave the caches: EfficientNet-Lite0 takes half as long again for an image of 32 as of 8.
    target = 256 if device.type == "cuda" else 8
    scale = max(pixels / (224 * 224), 1 / 16)
    return max(1, 2 ** round(math.log2(target / scale)))
