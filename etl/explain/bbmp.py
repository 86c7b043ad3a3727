"""BBMP: meaningful perturbations of black boxes (Fong and Vedaldi, ICCV 2017)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from etl.explain.chunks import in_chunks
from etl.explain.logits import choose_targets
from etl.explain.protocol import Attribution, Context
from warehouse.errors import UserError

if TYPE_CHECKING:
    from etl.explain.prepared import PreparedModel

# The authors' lengths in pixels, for the 224 pixels of their images; other sizes scale them.
_REFERENCE = 224
_MASK_BLUR = 5.0
_NULL_BLUR = 10.0
_CELLS = 28
_EMPTIED = 0.01

# The search has come to rest when its smoothed objective has not fallen by two per cent for this many iterations.
_KEEP = 0.9
_WORTH = 0.02
_PATIENCE = 10

_MOST_ON_CPU = 8
_MOST = 64

Rows = slice | list[int]


@dataclass(frozen=True)
class BBMPParameters:
    """Parameters of BBMP, with the authors' values.

    Parameters
    ----------
    iterations
        Steps of Adam.
    learning_rate
        Of Adam.
    l1
        Weight lambda_1 of the deleted area, summed over the 28 x 28 cells of the mask.
    tv
        Weight lambda_2 of the mask's roughness, summed over the cells.
    tv_power
        Exponent beta of the gradient's length.
    jitter
        In each step the image is shifted at random among this many positions each way, in pixels of 224, so that the
        mask fits no single pixel grid.
    seed
        Of the shifts. Another seed gives another, equally good mask.
    early_stop
        End when the objective, smoothed over ten iterations, has not fallen by two per cent in ten; a third of the
        iterations is usual, and the objective then within some per cent of its value after all of them. The authors
        always run all.
    """

    iterations: int = 300
    learning_rate: float = 0.1
    l1: float = 1e-4
    tv: float = 1e-2
    tv_power: float = 3.0
    jitter: int = 4
    seed: int = 0
    early_stop: bool = True

    def __post_init__(self) -> None:
        for name, low in (("iterations", 1), ("jitter", 0), ("seed", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < low:
                raise UserError(f"{name} must be a whole number of at least {low}, not {value!r}.")
        for name in ("learning_rate", "l1", "tv", "tv_power"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
                raise UserError(f"{name} must be a finite number, not negative, not {value!r}.")
        if self.learning_rate == 0 or self.tv_power < 2:
            raise UserError("learning_rate must be positive and tv_power at least 2.")


class BBMP:
    """Meaningful perturbation: the smallest, smoothest region whose deletion takes the class away.

    With x the image, x_0 the same image blurred, m a mask that is 1 where the image stays and 0 where it is replaced,
    tau a random shift and f_c the softmax probability of class c, equation 7 of the paper (the deletion game) is
    minimised over m in [0, 1]:

    .. code-block:: text

        Phi(x; m) = m x + (1 - m) x_0
        E(m)      = lambda_1 ||1 - m||_1 + lambda_2 sum_u |grad m(u)|^beta + E_tau f_c( Phi( x(. - tau); m ) )

    and 1 - m is the map. As in the authors' code (``perturb_explanations``) the mask has 28 x 28 cells, enlarged to
    blocks and blurred (Gaussian, 5 pixels of 224), the blurred image has a Gaussian of 10 pixels, both norms are sums,
    and the mask begins as the smallest central disk whose deletion leaves less than 1 % of the probability.

    Cost: a forward and a backward pass down to the image per iteration, 70 to 140 of them until the search comes to
    rest; up to 34 forward passes for the disk. Deviations: the search ends when it has come to rest
    (``early_stop=False`` runs all iterations, as the authors do); lengths in pixels scale with the size of the image;
    the shift moves the blended image, with its edge repeated. The search is not convex: another seed gives another
    mask.
    """

    name: ClassVar[str] = "bbmp"
    title: ClassVar[str] = "BBMP"
    description: ClassVar[str] = (
        "Searches for the smallest smooth region that has to be blurred until the model no longer sees the class. "
        "Treats the model as a black box; takes long."
    )
    paper: ClassVar[str] = (
        "R. C. Fong and A. Vedaldi, Interpretable Explanations of Black Boxes by Meaningful Perturbation, ICCV 2017, "
        "arXiv:1704.03296"
    )
    version: ClassVar[int] = 1
    Parameters: ClassVar[type[Any]] = BBMPParameters

    def cost(self, parameters: BBMPParameters, channels: int) -> float:  # noqa: ARG002 - part of the protocol
        """Count a forward and a full backward pass per iteration, and the disks."""
        return 2.5 * parameters.iterations + len(_radii()) + 2.0

    def attribute(
        self,
        model: PreparedModel,
        images: Tensor,
        targets: Tensor | None,
        parameters: BBMPParameters,
        context: Context,
    ) -> Attribution:
        """Explain a batch: see :class:`etl.explain.protocol.Method`."""

        def explain(part: slice) -> tuple[Tensor, Tensor, Tensor]:
            some = images[part]
            scores = model.scores(some)
            classes = choose_targets(scores, None if targets is None else targets[part])
            search = _Search(model, some, classes, scores)
            masks = search.run(parameters, context, part.start / len(images), len(some) / len(images))
            return 1 - masks[:, 0], scores, classes

        most = _MOST_ON_CPU if model.device.type == "cpu" else _MOST
        size = model.pass_size(images, len(images), context, most, graph=True)
        maps, logits, chosen = zip(*in_chunks(len(images), size, explain), strict=True)
        return Attribution(torch.cat(maps).float(), torch.cat(logits), torch.cat(chosen))


class _Search:
    """The optimisation for a few images at once; their masks do not influence each other."""

    def __init__(self, model: PreparedModel, images: Tensor, targets: Tensor, scores: Tensor) -> None:
        self._model = model
        self._images = images
        self._targets = targets[:, None]
        self._scale = min(images.shape[2:]) / _REFERENCE
        self._null = _blurred(images, _NULL_BLUR * self._scale)
        self._rows, self._columns = (_enlargement(n, _MASK_BLUR * self._scale).to(images) for n in images.shape[2:])
        self._original = scores.softmax(dim=1).gather(1, self._targets)[:, 0]

    def run(self, parameters: BBMPParameters, context: Context, begin: float, share: float) -> Tensor:
        """Minimise; returns masks (B, 1, 28, 28) in [0, 1]."""
        masks = [mask.requires_grad_() for mask in self.initial(context).split(1)]
        optimisers = [torch.optim.Adam([mask], lr=parameters.learning_rate) for mask in masks]
        rests = [_Rest() for _ in masks]
        moving = list(range(len(masks)))
        generator = torch.Generator().manual_seed(parameters.seed)
        reach = round(parameters.jitter * self._scale)
        for iteration in range(parameters.iterations):
            context.step(begin + share * iteration / parameters.iterations, _deleted(masks))
            # Drawn for all images, so that one's mask does not depend on when another's came to rest.
            shift = torch.randint(0, max(1, reach), (2,), generator=generator).tolist()
            stack = torch.cat([masks[i] for i in moving])
            rows = moving if len(moving) < len(masks) else slice(None)
            loss = self.objective(stack, parameters, (shift[0] - reach // 2, shift[1] - reach // 2), rows)
            gradients = torch.autograd.grad(loss.sum(), [masks[i] for i in moving])
            for i, gradient in zip(moving, gradients, strict=True):
                masks[i].grad = gradient
                optimisers[i].step()
            with torch.no_grad():
                for i in moving:
                    masks[i].clamp_(0.0, 1.0)
            if parameters.early_stop:
                moving = [i for i, value in zip(moving, loss.tolist(), strict=True) if not rests[i].reached(value)]
                if not moving:
                    break
        return torch.cat(masks).detach()

    def objective(
        self, mask: Tensor, parameters: BBMPParameters, shift: tuple[int, int] = (0, 0), rows: Rows = slice(None)
    ) -> Tensor:
        """E of the paper for each mask (B, 1, 28, 28) of the images in ``rows``: (B,)."""
        area = (1 - mask).abs().sum(dim=(1, 2, 3))
        # Differences towards the next cell; the last row and column have none.
        down = F.pad(mask.diff(dim=2), (0, 0, 0, 1))
        right = F.pad(mask.diff(dim=3), (0, 1, 0, 0))
        rough = (down.square() + right.square()).pow(parameters.tv_power / 2).sum(dim=(1, 2, 3))
        return parameters.l1 * area + parameters.tv * rough + self._probability(mask, shift, rows)

    def initial(self, context: Context | None = None) -> Tensor:
        """Begin with the smallest central disk of deletion that leaves less than 1 % of the class: (B, 1, 28, 28).

        On a CPU the disks are tried one by one, for all images, until each image has its own. On a GPU a pass of all
        disks takes hardly longer than one of a single disk, and nobody has to ask the device in between.
        """
        with torch.no_grad():
            disks = torch.stack([_disk(radius) for radius in _radii()]).to(self._images)[:, None]
            everything = torch.zeros_like(disks[:1])
            nothing_left = self._probability(everything.expand(len(self._images), -1, -1, -1))
            enough = nothing_left + _EMPTIED * (self._original - nothing_left)
            if self._images.device.type != "cpu":
                return torch.cat([self._first(i, disks, enough[i], context or Context()) for i in range(len(enough))])
            chosen = everything.repeat(len(self._images), 1, 1, 1)
            open_images = torch.ones_like(enough, dtype=torch.bool)
            for disk in disks:
                found = open_images & (self._probability(disk.expand(len(self._images), -1, -1, -1)) < enough)
                chosen[found] = disk
                open_images &= ~found
                if not bool(open_images.any()):
                    break
        return chosen

    def _first(self, image: int, disks: Tensor, enough: Tensor, context: Context) -> Tensor:
        """Return the first disk that leaves less of an image's class than ``enough``, or everything deleted."""
        size = self._model.pass_size(self._images[image : image + 1], len(disks), context, len(disks))
        left = torch.cat([self._probability(part, rows=[image] * len(part)) for part in disks.split(size)])
        found = torch.cat([left < enough, torch.ones_like(left[:1], dtype=torch.bool)])
        candidates = torch.cat([disks, torch.zeros_like(disks[:1])])
        return candidates[found.int().argmax()][None]

    def _probability(self, mask: Tensor, shift: tuple[int, int] = (0, 0), rows: Rows = slice(None)) -> Tensor:
        stays = self._rows @ mask @ self._columns.T
        null = self._null[rows]
        blended = _shifted(null + stays * (self._images[rows] - null), shift)
        scores = self._model.differentiable_scores(blended)
        return scores.softmax(dim=1).gather(1, self._targets[rows])[:, 0]


class _Rest:
    """Tells when an optimisation has come to rest: its smoothed objective no longer falls."""

    def __init__(self) -> None:
        self._smooth: float | None = None
        self._best = math.inf
        self._waited = 0

    def reached(self, objective: float) -> bool:
        """Note the objective of one more iteration."""
        self._smooth = objective if self._smooth is None else _KEEP * self._smooth + (1 - _KEEP) * objective
        if self._smooth < self._best * (1 - _WORTH):
            self._best, self._waited = self._smooth, 0
        else:
            self._waited += 1
        return self._waited >= _PATIENCE


def _deleted(masks: list[Tensor]) -> Tensor:
    """Turn masks (1, 1, 28, 28) into maps (B, 28, 28) of what they delete."""
    return 1 - torch.cat(masks).detach()[:, 0]


def _radii() -> range:
    """Radii of the disks in steps of 5 of 224 pixels, up to the corner."""
    return range(0, math.ceil(_REFERENCE / math.sqrt(2)) + 5, 5)


def _disk(radius: float) -> Tensor:
    """Make a mask (28, 28) that deletes a central disk, radius in pixels of 224."""
    centres = (torch.arange(_CELLS) + 0.5) * (_REFERENCE / _CELLS) - _REFERENCE / 2
    return (centres[:, None].square() + centres[None].square() > radius**2).float()


def _enlargement(size: int, sigma: float) -> Tensor:
    """Make the matrix (size, 28) that repeats each of 28 cells over its block of pixels and blurs the result."""
    blocks = F.interpolate(torch.eye(_CELLS)[None], size=size, mode="nearest")[0]
    return _blurred_rows(blocks, sigma).T


def _blurred(images: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of images (B, C, H, W), the edge repeated."""
    return _blurred_rows(_blurred_rows(images, sigma).mT, sigma).mT


def _blurred_rows(values: Tensor, sigma: float) -> Tensor:
    """Gaussian blur along the last dimension, the edge repeated; the kernel reaches four standard deviations."""
    reach = max(1, math.ceil(4 * sigma))
    offsets = torch.arange(-reach, reach + 1, device=values.device, dtype=values.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma).square())
    rows = F.pad(values.reshape(-1, 1, values.shape[-1]), (reach, reach), mode="replicate")
    return F.conv1d(rows, (kernel / kernel.sum())[None, None]).reshape(values.shape)


def _shifted(images: Tensor, shift: tuple[int, int]) -> Tensor:
    """Move images down and right by whole pixels, the edge repeated."""
    down, right = shift
    if not (down or right):
        return images
    height, width = images.shape[2:]
    reach = max(abs(down), abs(right))
    padded = F.pad(images, (reach, reach, reach, reach), mode="replicate")
    return padded[:, :, reach - down : reach - down + height, reach - right : reach - right + width]
