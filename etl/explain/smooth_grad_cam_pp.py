"""Smooth Grad-CAM++ (Omeiza et al., 2019)."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from etl.explain.chunks import in_chunks
from etl.explain.grad_cam_pp import grad_cam_pp_map, weighted_map
from etl.explain.logits import choose_targets
from etl.explain.protocol import Attribution, Context
from warehouse.errors import UserError

if TYPE_CHECKING:
    from etl.explain.prepared import PreparedModel

_MOST = 16

_KEPT = 8_000_000
"""Numbers of noise, 32 MB, that are kept for the next image: drawing them takes a third of a forward pass."""


@dataclass(frozen=True)
class SmoothGradCAMPlusPlusParameters:
    """Parameters of Smooth Grad-CAM++.

    Parameters
    ----------
    samples
        Number n of noisy copies of the image.
    noise
        Standard deviation of the Gaussian noise as a share of the image's range, max - min, as in SmoothGrad.
    average
        ``"maps"``: the mean of the Grad-CAM++ maps of the noisy copies. ``"gradients"``: equations 4 to 6 of the paper,
        the derivatives averaged over the noisy copies and the activations of the clean image; for networks whose head
        is linear behind global average pooling this *is* Grad-CAM++.
    seed
        Of the noise; the same noise is added to every image.
    """

    samples: int = 8
    noise: float = 0.15
    average: Literal["maps", "gradients"] = "maps"
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.samples, int) or not 1 <= self.samples <= 1000:
            raise UserError(f"samples must be a whole number from 1 to 1000, not {self.samples!r}.")
        if not isinstance(self.noise, (int, float)) or not 0 <= self.noise <= 10:
            raise UserError(f"noise must be a number from 0 to 10, not {self.noise!r}.")
        if self.average not in {"maps", "gradients"}:
            raise UserError(f"average must be 'maps' or 'gradients', not {self.average!r}.")
        if not isinstance(self.seed, int):
            raise UserError(f"seed must be a whole number, not {self.seed!r}.")


class SmoothGradCAMPlusPlus:
    """Grad-CAM++ averaged over noisy copies of the image.

    For ``average="maps"``, with x_i = x + N(0, sigma^2) and sigma = noise (max x - min x) per image,

    .. code-block:: text

        L(x) = 1/n sum_i GradCAM++(x_i)                               (not stretched before averaging)

    For ``average="gradients"``, with D1, D2, D3 the means of g, g^2, g^3 over the x_i and A of the clean image,

    .. code-block:: text

        alpha_k,ij = D2_k,ij / ( 2 D2_k,ij + sum_ab A_k,ab  D3_k,ij )
        w_k        = sum_ij alpha_k,ij ReLU( D1_k,ij )
        L          = ReLU( sum_k w_k A_k )

    Cost: n forward passes, one more of the clean image where its class is not given, and n backward passes through the
    head; one of each for averaged derivatives of a network whose scores are affine in A, as behind global average
    pooling: there they do not depend on the noise.
    Deviations: maps are averaged by default, because averaging derivatives changes nothing at all on the many networks
    where they do not depend on the input; the noise is relative to the image's range and n is 8, as the paper leaves
    both to the user.
    """

    name: ClassVar[str] = "smooth-grad-cam++"
    title: ClassVar[str] = "Smooth Grad-CAM++"
    description: ClassVar[str] = (
        "Adds a little noise to the image several times and averages the Grad-CAM++ maps, which suppresses what was "
        "there by chance."
    )
    paper: ClassVar[str] = (
        "D. Omeiza et al., Smooth Grad-CAM++: An Enhanced Inference Level Visualization Technique for Deep "
        "Convolutional Neural Network Models, 2019, arXiv:1908.01224"
    )
    version: ClassVar[int] = 1
    Parameters: ClassVar[type[Any]] = SmoothGradCAMPlusPlusParameters

    def cost(self, parameters: SmoothGradCAMPlusPlusParameters, channels: int) -> float:  # noqa: ARG002 - protocol
        """One forward pass per noisy copy, and one of the clean image at most."""
        return parameters.samples + 1.0

    def attribute(
        self,
        model: PreparedModel,
        images: Tensor,
        targets: Tensor | None,
        parameters: SmoothGradCAMPlusPlusParameters,
        context: Context,
    ) -> Attribution:
        """Explain a batch: see :class:`etl.explain.protocol.Method`."""
        noise = _noise(parameters.seed, parameters.samples, tuple(images.shape[1:])).to(images)
        if context.memory is not None:
            context = replace(context, memory=context.memory - noise.nbytes)
        combine = _mean_map if parameters.average == "maps" else _map_of_means
        found = []
        for i in range(len(images)):
            image = images[i : i + 1]
            copies = _Copies(image, noise, parameters.noise * (image.amax() - image.amin()))
            wanted = None if targets is None else targets[i : i + 1]
            found.append(combine(model, copies, wanted, context.part(i, len(images))))
        maps, logits, chosen = zip(*found, strict=True)
        told = [one for one in logits if one is not None]
        return Attribution(torch.cat(maps).float(), torch.cat(told) if told else None, torch.cat(chosen))

    def attribute_classes(
        self,
        model: PreparedModel,
        images: Tensor,
        targets: Tensor,
        parameters: SmoothGradCAMPlusPlusParameters,
        context: Context,
    ) -> Attribution:
        """Explain several classes of each image from the same noisy copies: see :mod:`etl.explain.classes`."""
        return self.attribute(model, images, targets, parameters, context)


def _noise(seed: int, samples: int, shape: tuple[int, ...]) -> Tensor:
    """Draw the noise (n, 3, H, W) on the CPU, one for all images: a map depends neither on the device nor its batch."""
    if samples * math.prod(shape) <= _KEPT:
        return _kept_noise(seed, samples, shape)
    return torch.randn((samples, *shape), generator=torch.Generator().manual_seed(seed))


@functools.lru_cache(maxsize=2)
def _kept_noise(seed: int, samples: int, shape: tuple[int, ...]) -> Tensor:
    return torch.randn((samples, *shape), generator=torch.Generator().manual_seed(seed))


@dataclass(frozen=True)
class _Copies:
    """An image (1, 3, H, W) and how to make its noisy copies."""

    image: Tensor
    noise: Tensor
    sigma: Tensor

    def __len__(self) -> int:
        return len(self.noise)

    def __getitem__(self, part: slice) -> Tensor:
        return self.image + self.sigma * self.noise[part]


def _mean_map(
    model: PreparedModel, copies: _Copies, targets: Tensor | None, context: Context
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Average the maps of the copies; returns maps (1, h, w) or (1, K, h, w), logits (1, N) and classes.

    The image itself goes through the model only if that has to tell the class; else there are no logits.
    """
    logits = classes = None
    leading = int(targets is None)
    count = leading + len(copies)

    def explain(part: slice) -> Tensor:
        nonlocal logits, classes
        context.step(part.start / count)
        # An image that has to tell the class leads its copies through the first pass.
        first = 0 if part.start else leading
        rows = copies[max(0, part.start - leading) : part.stop - leading]
        cut = model.cut(torch.cat([copies.image, rows]) if first else rows)
        if classes is None:
            if first:
                logits = cut.logits[:1].detach()
            classes = choose_targets(cut.logits[:1], targets)
        return torch.stack(
            [
                grad_cam_pp_map(cut.activations, cut.gradients(target.expand(len(cut.logits))))[first:].sum(dim=0)
                for target in classes.flatten()
            ]
        )

    size = model.pass_size(copies.image, count, context, _MOST)
    maps = sum(in_chunks(count, size, explain), start=torch.zeros(())) / len(copies)
    assert classes is not None
    return maps.reshape(*classes.shape, *maps.shape[1:]), logits, classes


def _map_of_means(
    model: PreparedModel, copies: _Copies, targets: Tensor | None, context: Context
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Average the derivatives of the copies; returns what :func:`_mean_map` does."""
    context.step(0.0)
    clean = model.cut(copies.image)
    logits, activations = clean.logits.detach(), clean.activations
    classes = choose_targets(logits, targets)
    if clean.has_affine_head:
        # The derivatives are the same everywhere, so their means are those of the image itself.
        maps = torch.cat([grad_cam_pp_map(activations, clean.gradients(target[None])) for target in classes.flatten()])
        return maps.reshape(*classes.shape, *maps.shape[1:]), logits, classes

    def explain(part: slice) -> Tensor:
        context.step((1 + part.start) / (1 + len(copies)))
        cut = model.cut(copies[part])
        sums = []
        for target in classes.flatten():
            gradients = cut.gradients(target.expand(len(cut.logits)))
            sums.append(torch.stack([gradients.pow(power).sum(dim=0) for power in (1, 2, 3)]))
        return torch.stack(sums, dim=1)

    size = model.pass_size(copies.image, len(copies), context, _MOST)
    first, second, third = sum(in_chunks(len(copies), size, explain), start=torch.zeros(())) / len(copies)
    ratio = torch.where(second > 0, third / torch.where(second > 0, second, 1.0), 0.0)
    maps = weighted_map(activations, first, ratio)
    return maps.reshape(*classes.shape, *maps.shape[1:]), logits, classes
