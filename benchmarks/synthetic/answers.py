"""What a model of a drawn world says about images, and what follows from that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from scipy.special import ndtr

from warehouse.schema import PART_SCHEMAS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchmarks.synthetic.model import SyntheticModel
    from benchmarks.synthetic.world import World

FIRST = 5
"""Answers that a warehouse keeps, most confident first."""

# An image is recognised if what the model knows of its class, of the image (some are hard for all models) and chance
# add up to more than nothing. The last two are normal with these deviations, a variance of 1 together.
OF_IMAGE, OF_CHANCE = 0.6, 0.8

FALL = 2.0  # how fast the true class' rank falls with what is lacking: a top-1 of 70 % means a top-5 of 91 %
LEAST, DOUBT = 0.08, 0.5  # least confidence, and how much of it without any reason
TAIL = 12.0  # how many times the fifth answer's confidence is left for all further classes, at most
IN_ROOT = 0.7  # share of it that goes to classes of the same root


@dataclass(frozen=True)
class Answers:
    """A model's answers to the images of one shard.

    Attributes
    ----------
    predictions, confidences
        Tables of the parts of these kinds.
    x, y
        (m,) float32, where the model has the images: near what it takes them for.
    """

    predictions: pa.Table
    confidences: pa.Table
    x: NDArray[np.float32]
    y: NDArray[np.float32]


def answer(world: World, model: SyntheticModel, shard: int, rows: slice) -> Answers:
    """Draw the answers to one shard of images."""
    rng = np.random.default_rng([world.seed, 3, model.number, shard])
    truth = world.labels[rows].astype(np.int64)
    knows = model.skill[truth] + OF_IMAGE * world.hardness[rows]
    lacks = -(knows + OF_CHANCE * rng.standard_normal(len(truth)))
    rank = np.where(lacks < 0, 1, 1 + np.floor(np.exp(FALL * np.maximum(lacks, 0))))
    rank = np.minimum(rank, len(world.table)).astype(np.int32)
    top = _first_answers(rng, model, truth, rank)
    # Calibrated: the probability of being right, as far as the model can know; and sometimes sure without reason.
    sure = ndtr(knows / OF_CHANCE) ** (1 / model.sharpness)
    sure = np.maximum(sure, LEAST + DOUBT * rng.random(len(truth)) ** 2)
    confidence, rest = _confidences(rng, sure, len(world.table))
    missed = rank > FIRST
    known = np.minimum(confidence[:, -1], rest / np.maximum(rank - FIRST, 1)) * rng.random(len(truth))
    of_truth = np.where(missed, known, confidence[np.arange(len(truth)), np.minimum(rank, FIRST) - 1])
    predictions = pa.table(
        {
            "image_id": np.arange(rows.start, rows.stop, dtype=np.int32),
            "class_id": truth.astype(np.int32),
            "predicted_class_id": top[:, 0].astype(np.int32),
            "confidence": confidence[:, 0].astype(np.float32),
            "true_confidence": of_truth.astype(np.float32),
            "true_rank": rank,
            **{f"class_id_{place + 1}": top[:, place].astype(np.int32) for place in range(1, FIRST)},
            **{f"confidence_{place + 1}": confidence[:, place].astype(np.float32) for place in range(1, FIRST)},
        }
    ).cast(PART_SCHEMAS["predictions"])
    listed = np.concatenate([top, truth[:, None]], axis=1)
    mass = np.concatenate([confidence, np.where(missed, known, 0)[:, None]], axis=1)
    sums = _sums(rng, world, truth, listed, mass)
    # Between what an image is and what it is taken for, nearer to the latter.
    middle = model.place[truth] + np.where(rank == 1, 0, 0.7)[:, None] * (model.place[top[:, 0]] - model.place[truth])
    x, y = (middle + rng.normal(0, 0.5, middle.shape)).astype(np.float32).T
    return Answers(predictions, sums, np.ascontiguousarray(x), np.ascontiguousarray(y))


def _first_answers(
    rng: np.random.Generator, model: SyntheticModel, truth: NDArray[np.int64], rank: NDArray[np.int32]
) -> NDArray[np.int64]:
    """Return (m, 5) class ids: related ones, drawn by their weights, and the true one where its rank says."""
    # The first to arrive in a race of exponential clocks are a weighted draw without replacement.
    arrival = rng.standard_exponential((len(truth), model.related.shape[1]), dtype=np.float32) / model.weight[truth]
    others = np.take_along_axis(model.related[truth], np.argsort(arrival, axis=1)[:, :FIRST], axis=1)
    place = np.arange(FIRST)
    behind = place >= rank[:, None]
    top = np.take_along_axis(others, place - behind, axis=1)
    hit = np.flatnonzero(rank <= FIRST)
    top[hit, rank[hit] - 1] = truth[hit]
    return top


def _confidences(
    rng: np.random.Generator, sure: NDArray[np.float64], classes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (m, 5) confidences, descending, and what is left for the other classes, each below the fifth."""
    falls = np.cumprod(np.column_stack([np.ones(len(sure)), rng.uniform(0.2, 0.9, (len(sure), FIRST - 2))]), axis=1)
    rest = falls[:, -1] * min(classes - FIRST, TAIL) * rng.random(len(sure))
    total = falls.sum(axis=1) + rest
    first = np.clip(sure, 1 / (total + 1), 0.9999)  # the second, a share of 1 / total, stays below
    scale = (1 - first) / total
    return np.column_stack([first, falls * scale[:, None]]), rest * scale


def _sums(
    rng: np.random.Generator,
    world: World,
    truth: NDArray[np.int64],
    listed: NDArray[np.int64],
    mass: NDArray[np.float64],
) -> pa.Table:
    """Return the part ``confidences``: by true class the sum of all confidence vectors.

    Parameters
    ----------
    rng, world
        Of the answers.
    truth
        (m,) true classes, ascending.
    listed, mass
        (m, k) classes and the confidence in them; what lacks to 1 is spread over root class and all.
    """
    classes = len(world.table)
    present, row, images = np.unique(truth, return_inverse=True, return_counts=True)
    at = (row[:, None] * classes + listed).ravel()
    sums = np.bincount(at, mass.ravel(), len(present) * classes).reshape(-1, classes)
    related = world.root[present][:, None] == world.root
    spread = IN_ROOT * related / related.sum(axis=1, keepdims=True) + (1 - IN_ROOT) / classes
    spread *= rng.standard_exponential(spread.shape)
    spread /= spread.sum(axis=1, keepdims=True)
    sums += (images - sums.sum(axis=1))[:, None] * spread
    offsets = np.arange(0, sums.size + 1, classes, dtype=np.int32)
    table = {
        "class_id": present.astype(np.int32),
        "images": images,
        "sum_confidence": pa.ListArray.from_arrays(offsets, pa.array(sums.ravel())),
    }
    return pa.table(table).cast(PART_SCHEMAS["confidences"])
