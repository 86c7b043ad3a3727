"""Classes and images, as all models meet them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from etl.classes import ClassTable, imagenet

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEWEST_CLASSES = 20
"""Fewer leave no room for wrong answers among related classes."""

SIBLINGS = 12
"""Neighbours in the class table that are kinds of one thing; ImageNet's is in the order of WordNet."""

SIBLING_SPREAD, ROOT_GAP = 1.1, 1.0  # in the plane, where a class takes about one unit of space

# Standard deviations on the scale of probits, on which accuracies are sums of what helps and what hinders.
OF_SIBLINGS, OF_CLASS = 0.35, 0.4


@dataclass(frozen=True)
class World:
    """What there is to be recognised.

    Attributes
    ----------
    seed
        Everything drawn follows from it.
    table
        The class table.
    labels
        (M,) int32, true class of every image in the order of an image folder.
    place
        (N, 2) float64, where classes lie: what is close together looks alike.
    root
        (N,) int64, number of each class' root class.
    stranger
        (N,) int64, a class of another kind that looks alike nevertheless, as a sea lion in a pool does; -1 for most.
    difficulty
        (N,) float64, how hard classes are for every model, in probits.
    hardness
        (M,) float32, how hard single images are for every model, standard normal.
    """

    seed: int
    table: ClassTable
    labels: NDArray[np.int32]
    place: NDArray[np.float64]
    root: NDArray[np.int64]
    stranger: NDArray[np.int64]
    difficulty: NDArray[np.float64]
    hardness: NDArray[np.float32]

    @classmethod
    def of(cls, classes: int, images: int, seed: int = 0) -> World:
        """Draw a world.

        Parameters
        ----------
        classes
            Their number; with a thousand the class table is ImageNet's, with fewer a sample of it.
        images
            Their number, spread evenly over the classes.
        seed
            Same seed, same world.
        """
        if classes < FEWEST_CLASSES:
            raise ValueError(f"A world has {FEWEST_CLASSES} classes at least, not {classes}.")
        rng = np.random.default_rng([seed, 0])
        table = class_table(classes)
        names = sorted(set(table.roots))
        root = np.array([names.index(name) for name in table.roots])
        group = _groups(root)
        stranger = rng.integers(0, classes, classes)
        stranger[(rng.random(classes) < 0.85) | (root[stranger] == root)] = -1
        difficulty = rng.normal(0, OF_SIBLINGS, group.max() + 1)[group] + rng.normal(0, OF_CLASS, classes)
        return cls(
            seed=seed,
            table=table,
            labels=np.sort(np.arange(images, dtype=np.int32) % classes),
            place=_places(rng, root, group),
            root=root,
            stranger=stranger,
            difficulty=difficulty - difficulty.mean(),
            hardness=rng.standard_normal(images, dtype=np.float32),
        )


def class_table(classes: int) -> ClassTable:
    """Return a class table of any size, its root classes as large in proportion as ImageNet's."""
    known = imagenet()
    row = np.arange(classes) * len(known) // classes
    variety = np.arange(classes) - np.searchsorted(row, row)  # each of ImageNet's classes in several, where need be
    kinds = list(zip(row.tolist(), variety.tolist(), strict=True))
    return ClassTable(
        names=tuple(f"{known.names[i]} {v + 1}" if v else known.names[i] for i, v in kinds),
        roots=tuple(known.roots[i] for i, _ in kinds),
        wnids=tuple(f"n9{number:07d}" if v else known.wnids[i] for number, (i, v) in enumerate(kinds)),
    )


def _groups(root: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of each class' group of siblings: runs of neighbours within each root class."""
    group = np.empty(len(root), np.int64)
    groups = 0
    for number in range(root.max() + 1):
        members = np.flatnonzero(root == number)
        group[members] = groups + np.arange(len(members)) // SIBLINGS
        groups = group[members].max() + 1
    return group


def _places(rng: np.random.Generator, root: NDArray[np.int64], group: NDArray[np.int64]) -> NDArray[np.float64]:
    """Lay classes out: root classes as discs of a size that fits, groups of siblings in them, classes around those."""
    radius = np.sqrt(np.bincount(root))
    middle = _discs(radius + ROOT_GAP / 2)
    place = np.empty((len(root), 2))
    for number, (center, size) in enumerate(zip(middle, radius, strict=True)):
        members = np.flatnonzero(root == number)
        groups, of_group = np.unique(group[members], return_inverse=True)
        place[members] = center + 0.85 * size * rng.permutation(_sunflower(len(groups)))[of_group]
    place += rng.normal(0, SIBLING_SPREAD, place.shape)
    return place - place.mean(axis=0)


def _sunflower(count: int) -> NDArray[np.float64]:
    """Return points that fill the unit disc evenly."""
    k = np.arange(count)
    distance, angle = np.sqrt((k + 0.5) / count) if count > 1 else np.zeros(1), k * np.pi * (3 - np.sqrt(5))
    return np.stack([distance * np.cos(angle), distance * np.sin(angle)], axis=1)


def _discs(radius: NDArray[np.float64]) -> NDArray[np.float64]:
    """Place discs side by side without overlap, large ones in the middle: each as near to it as there is room."""
    spots = _sunflower(8000) * 2 * radius.sum()
    middle = np.zeros((len(radius), 2))
    done: list[int] = []
    for number in np.argsort(-radius, kind="stable").tolist():
        if done:
            apart = np.linalg.norm(spots[:, None] - middle[done], axis=2)
            room = (apart >= radius[done] + radius[number]).all(axis=1)
            middle[number] = spots[np.argmax(room)]  # the spots lie from the middle outwards
        done.append(number)
    return middle
