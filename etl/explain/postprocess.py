"""From a method's raw map to the attention map in [0, 1] that everybody sees."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

CONSTANT = "constant map"
NOT_FINITE = "map is not finite"


def degenerate(maps: Tensor) -> tuple[str | None, ...]:
    """Tell which maps say nothing about where the model looked.

    Parameters
    ----------
    maps
        (B, h, w) floating point.

    Returns
    -------
    tuple of str or None
        For each map :data:`CONSTANT`, :data:`NOT_FINITE` or None. A map is constant when its range is within rounding,
        1e-6 of its largest magnitude.
    """
    flat = maps.flatten(1)
    finite = torch.isfinite(flat).all(dim=1)
    flat = torch.nan_to_num(flat, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = flat.amin(dim=1), flat.amax(dim=1)
    constant = (high - low) <= 1e-6 * torch.maximum(low.abs(), high.abs())
    return tuple(
        None if ok and not same else CONSTANT if ok else NOT_FINITE
        for ok, same in zip(finite.tolist(), constant.tolist(), strict=True)
    )


def normalise(maps: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """Upsample maps and stretch each to [0, 1].

    Bilinear with ``align_corners=False`` (the same as OpenCV's ``INTER_LINEAR``), then one min-max per map. Stretching
    before upsampling as well changes nothing, so a map may be kept at low resolution.

    Parameters
    ----------
    maps
        (B, h, w) floating point.
    size
        (H, W) in pixels; None keeps (h, w).

    Returns
    -------
    torch.Tensor
        (B, H, W) float32 in [0, 1]. Maps that :func:`degenerate` flags become zeros, never NaN.
    """
    usable = torch.tensor([reason is None for reason in degenerate(maps)], device=maps.device)
    maps = torch.where(usable[:, None, None], maps, 0.0).float()
    if size is not None and tuple(maps.shape[1:]) != tuple(size):
        maps = F.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    span = high - low
    return torch.where(span > 0, (maps - low) / torch.where(span > 0, span, 1.0), 0.0).clamp_(0.0, 1.0)
