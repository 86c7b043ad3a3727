"""The printed equation of Grad-CAM++ step by step, and the networks on which methods are compared with equations."""

from __future__ import annotations

import numpy as np

NETWORKS = (
    "demo:alexnet",
    "demo:resnet18",
    "demo:squeezenet1_1",
    "demo:densenet121",
    "demo:mobilenet_v2",
    "demo:shufflenet_v2_x0_5",
)


def finish(by_hand, heatmap, image):
    return by_hand.min_max(by_hand.bilinear(heatmap, image.shape[1], image.shape[2]))


def equation_19(a, g):
    """alpha by the printed fraction, one pixel of one channel at a time."""
    alpha = np.zeros_like(g)
    for k in range(len(a)):
        total = a[k].sum()
        for i, j in np.ndindex(*g[k].shape):
            if g[k, i, j] != 0:
                alpha[k, i, j] = g[k, i, j] ** 2 / (2 * g[k, i, j] ** 2 + total * g[k, i, j] ** 3)
    return alpha


def weighted(a, g, alpha):
    heatmap = np.zeros(a.shape[1:])
    for k in range(len(a)):
        heatmap += (alpha[k] * np.maximum(g[k], 0)).sum() * a[k]
    return np.maximum(heatmap, 0)
