"""Models that were never trained: what they cost, how much they know, what they take for what."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.spatial import cKDTree
from scipy.special import expit, logit, ndtri

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchmarks.synthetic.world import World

SOURCE = "synthetic"
CREATED_AT = datetime(2026, 1, 1)  # noqa: DTZ001 - same seed, same bytes; the warehouse's times are UTC without zone


class Family(NamedTuple):
    """Models of one architecture in several sizes.

    Attributes
    ----------
    name
        For people.
    parameters, operations
        Of the smallest member: parameters in millions, operations in thousands a parameter.
    top1
        Of the smallest member on a thousand classes.
    input_size
        In pixels.
    """

    name: str
    parameters: float
    operations: float
    top1: float
    input_size: int


FAMILIES = (
    Family("Residual", 11.0, 0.16, 0.69, 224),
    Family("Dense", 8.0, 0.36, 0.74, 224),
    Family("Mobile", 1.8, 0.09, 0.60, 224),
    Family("Plain", 30.0, 0.12, 0.57, 224),
    Family("Squeeze", 0.7, 0.50, 0.49, 224),
    Family("Efficient", 4.7, 0.08, 0.75, 240),
    Family("Attention", 5.7, 0.21, 0.72, 224),
    Family("Inception", 6.6, 0.24, 0.68, 299),
)

DOUBLINGS = 4  # of the parameters, from a family's smallest member to its largest
BY_DOUBLING, OF_MODEL = 0.2, 0.1  # of the logit of the accuracy: what twice the parameters add, and chance

OF_FAMILY, OF_MODEL_AND_CLASS = 0.2, 0.25  # probits: what a family is good at, and what each model is

RELATED = 16
"""Classes that a model may take one for, among the first five answers."""

BLUR = 1.6  # how far a class' neighbours reach, in units of the plane


@dataclass(frozen=True)
class SyntheticModel:
    """One model of a world.

    Attributes
    ----------
    number
        Which one; the same whatever the number of models is.
    card
        A row of the part ``models``.
    skill
        (N,) float64, in probits: how much the model knows of each class beside what hinders all.
    place
        (N, 2) float64, where it has the classes.
    related
        (N, K) int64, what it takes a class for.
    weight
        (N, K) float32, how readily it does.
    sharpness
        Above one it is surer of itself than it should be.
    """

    number: int
    card: dict[str, Any]
    skill: NDArray[np.float64]
    place: NDArray[np.float64]
    related: NDArray[np.int64]
    weight: NDArray[np.float32]
    sharpness: float

    @property
    def key(self) -> str:
        """Names the model's parts."""
        return str(self.card["key"])

    @classmethod
    def of(cls, world: World, number: int) -> SyntheticModel:
        """Draw one model, always the same for a world and a number."""
        rng = np.random.default_rng([world.seed, 1, number])
        kind, member = number % len(FAMILIES), number // len(FAMILIES)
        family = FAMILIES[kind]
        doublings = DOUBLINGS * _between(member)
        top1 = float(expit(logit(family.top1) + BY_DOUBLING * doublings + rng.normal(0, OF_MODEL)))
        skill = _skill(rng, world, kind, top1)
        # Who errs more sees the plane less clearly.
        place = world.place + rng.normal(0, 0.25 + 1.5 * (1 - top1), world.place.shape)
        related, weight = _relations(rng, world, place)
        parameters = round(1e6 * family.parameters * 2**doublings * rng.lognormal(0, 0.05))
        operations = round(1000 * parameters * family.operations * rng.lognormal(0, 0.15))
        latency = round(1.5 + operations / 4e8 * rng.lognormal(0, 0.2), 2)
        label = f"{family.name.lower()}-{member + 1:02d}"
        digest = hashlib.sha256(f"{world.seed} {number}".encode()).hexdigest()
        card = {
            "key": f"{SOURCE}-{label}-{digest[:12]}",
            "model": f"{SOURCE}:{label}",
            "label": label,
            "family": family.name,
            "source": SOURCE,
            "parameters": parameters,
            "flops": operations,
            "input_size": family.input_size,
            "latency_ms": latency,
            "images_per_second": round(1000 / latency, 1),
            "precision": "float32",
            "weights_sha256": digest,
            "preprocess": "",
            "layer": None,
            "created_at": CREATED_AT,
        }
        return cls(number, card, skill, place, related, weight, sharpness=float(rng.uniform(0.9, 1.3)))


def _between(member: int) -> float:
    """Return a share in [0, 1) that spreads evenly however many members there are: 0, 1/2, 1/4, 3/4, 1/8 ..."""
    share, half = 0.0, 0.5
    while member:
        share += half * (member & 1)
        member, half = member >> 1, half / 2
    return share


def _skill(rng: np.random.Generator, world: World, kind: int, top1: float) -> NDArray[np.float64]:
    of_family = np.random.default_rng([world.seed, 2, kind]).normal(0, OF_FAMILY, world.root.max() + 1)
    differs = of_family[world.root] + rng.normal(0, OF_MODEL_AND_CLASS, len(world.root)) - world.difficulty
    differs -= differs.mean()
    # What varies between classes flattens the mean accuracy; this much more skill makes up for it.
    return float(ndtri(top1)) * np.sqrt(1 + differs.var()) + differs


def _relations(
    rng: np.random.Generator, world: World, place: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return for each class what it may be taken for, and how readily: its neighbours, and a stranger if it has one."""
    count = min(RELATED, len(place) - 1)
    distance, related = cKDTree(place).query(place, k=count + 1)
    distance, related = distance[:, 1:], related[:, 1:]  # without itself
    weight = np.exp(-distance / BLUR) * rng.lognormal(0, 0.5, distance.shape)
    strange = np.flatnonzero(world.stranger >= 0)
    known = (related[strange] == world.stranger[strange, None]).any(axis=1)
    strange = strange[~known]
    related[strange, -1] = world.stranger[strange]
    weight[strange, -1] = weight[strange].max(axis=1)
    return related, weight.astype(np.float32)
