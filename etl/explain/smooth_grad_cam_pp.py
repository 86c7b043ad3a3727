"""Smooth Grad-CAM++ (Omeiza et al., 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from etl.explain.grad_cam_pp import grad_cam_pp_map, weighted_map
from etl.explain.logits import choose_targets
from etl.explain.protocol import Attribution, Context
from warehouse.errors import UserError

if TYPE_CHECKING:
    from etl.explain.prepared import PreparedModel


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

    Cost: n + 1 forward passes (one of the clean image, for its class) and n backward passes through the head.
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
        """One forward pass per noisy copy and one of the clean image."""
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
        generator = torch.Generator().manual_seed(parameters.seed)
        # Drawn on the CPU and one for all images: a map depends neither on the device nor on its batch.
        noise = torch.randn((parameters.samples, *images.shape[1:]), generator=generator).to(images)
        maps, logits, chosen = [], [], []
        for i in range(len(images)):
            image = images[i : i + 1]
            clean = model.cut(image)
            target = choose_targets(clean.logits.detach(), None if targets is None else targets[i : i + 1])
            noisy = image + parameters.noise * (image.amax() - image.amin()) * noise
            combine = _mean_map if parameters.average == "maps" else _map_of_means
            fractions = _Fractions(context, i, len(images), parameters.samples)
            maps.append(combine(model, noisy, target, clean.activations, fractions))
            logits.append(clean.logits.detach())
            chosen.append(target)
        return Attribution(torch.cat(maps).float(), torch.cat(logits), torch.cat(chosen))


@dataclass(frozen=True)
class _Fractions:
    """Chunks of one image's noisy copies, with progress over the whole batch."""

    context: Context
    image: int
    images: int
    samples: int

    def chunks(self) -> list[slice]:
        return [slice(s, s + self.context.chunk) for s in range(0, self.samples, self.context.chunk)]

    def step(self, chunk: slice) -> None:
        self.context.step((self.image + chunk.start / self.samples) / self.images)


def _mean_map(
    model: PreparedModel,
    noisy: Tensor,
    target: Tensor,
    activations: Tensor,  # noqa: ARG001 - the other form needs them
    fractions: _Fractions,
) -> Tensor:
    total: Tensor | float = 0.0
    for chunk in fractions.chunks():
        fractions.step(chunk)
        cut = model.cut(noisy[chunk])
        gradients = cut.gradients(target.expand(len(cut.logits)))
        total = total + grad_cam_pp_map(cut.activations, gradients).sum(dim=0, keepdim=True)
    return torch.as_tensor(total) / fractions.samples


def _map_of_means(
    model: PreparedModel, noisy: Tensor, target: Tensor, activations: Tensor, fractions: _Fractions
) -> Tensor:
    sums = [torch.zeros_like(activations) for _ in range(3)]
    for chunk in fractions.chunks():
        fractions.step(chunk)
        cut = model.cut(noisy[chunk])
        gradients = cut.gradients(target.expand(len(cut.logits)))
        for power, total in enumerate(sums, start=1):
            total += gradients.pow(power).sum(dim=0, keepdim=True)
    first, second, third = (total / fractions.samples for total in sums)
    return weighted_map(activations, first, torch.where(second > 0, third / torch.where(second > 0, second, 1.0), 0.0))
