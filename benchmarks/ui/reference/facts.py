"""What the reference pages show, as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

import warehouse
from vacpanel.palette import root_colors

if TYPE_CHECKING:
    from numpy.typing import NDArray

HALF = 0.42  # half the width of a bar
ONE_TAP = 20  # marks that overlap may be hit by one tap; a box holds more
MOST = 12  # classes at once in the plot of models on classes
LABELLED = 13  # models whose names stand in the scatter: with many the dashboard leaves out those that would overlap


@dataclass(frozen=True)
class Facts:
    """All models at once.

    Attributes
    ----------
    models
        Names of the M models.
    parameters
        (M,) float64.
    roots
        Names of the R root classes.
    colors
        Of the root classes.
    root
        (N,) int64, number of each class' root class.
    images, right
        (M, N) int64: images, and how many of them a model is right on.
    x, y
        (M, N) float32, where classes lie, in root mean square radii.
    limit
        Half the side of the square that holds all of them.
    """

    models: list[str]
    parameters: NDArray[np.float64]
    roots: list[str]
    colors: list[str]
    root: NDArray[np.int64]
    images: NDArray[np.int64]
    right: NDArray[np.int64]
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    limit: float

    @classmethod
    def of(cls, path: str) -> Facts:
        """Read a warehouse in which every model has a layout of the same classes, those with images."""
        with warehouse.open(path) as opened:
            table, tally, roots = opened.models(), opened.tally(), opened.roots()
            models = [str(model) for model in table["model"]]
            layouts = [opened.class_layout(model) for model in models]
        ids = layouts[0]["class_id"]
        x, y = (np.stack([layout[axis] for layout in layouts]).astype(np.float32) for axis in ("x", "y"))
        radius = np.sqrt((x**2 + y**2).mean(axis=1, keepdims=True))
        x, y = x / radius, y / radius
        return cls(
            models=models,
            parameters=np.asarray(table["parameters"], dtype=float),
            roots=roots,
            colors=list(root_colors(roots).values()),
            root=np.array([roots.index(str(root)) for root in tally.root_class[ids]]),
            images=tally.images[:, ids],
            right=tally.right1[:, ids],
            x=x,
            y=y,
            limit=1.08 * float(max(abs(x).max(), abs(y).max())),
        )

    def spokes(self) -> NDArray[np.float64]:
        """Return (R,) the angle of every root class, clockwise from the top."""
        return np.arange(len(self.roots)) * 2 * np.pi / len(self.roots)

    def labels(self) -> list[str]:
        """Return what stands beside every model in the scatter."""
        return [model if i < LABELLED else "" for i, model in enumerate(self.models)]

    def images_by_root(self, kept: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return (R,) images of every root class over the classes that are kept."""
        return np.bincount(self.root, weights=np.where(kept, self.images[0], 0), minlength=len(self.roots)).astype(int)

    def by_root(self, kept: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return (M, R) accuracies by root class over the classes that are kept."""
        member = (self.root == np.arange(len(self.roots))[:, None]) & kept
        images, right = self.images @ member.T, self.right @ member.T
        return np.divide(right, images, out=np.full(images.shape, np.nan), where=images > 0)

    def rates(self) -> NDArray[np.float64]:
        """Return (M, N) accuracies by class."""
        return np.divide(self.right, self.images, out=np.zeros(self.images.shape), where=self.images > 0)
