"""One model with something to do in a run."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import pyarrow as pa

from etl.models.checkpoints import state_sha256
from etl.registry import EVERY_MODEL
from etl.runs import utc_now
from warehouse.schema import PART_SCHEMAS

if TYPE_CHECKING:
    from torch import Tensor

    from etl.classes import ClassTable
    from etl.models import LoadedModel, ResolvedModel
    from etl.preprocess import Preprocessing
    from etl.probe import Facts
    from etl.station import Assignment
    from warehouse.parts import PartStore


class Job:
    """One model with something to do.

    Attributes
    ----------
    model, key, fingerprint
        The model, the scope of its parts, and what identifies its weights and preprocessing.
    missing
        Names of the shards that it has not predicted.
    failed
        Why it was given up; empty while it was not.
    loaded
        The model, while it is held in memory.
    facts
        What a first pass told.
    example
        Pixels of one image, (1, 3, H, W).
    assignment
        What whoever runs it has to know.
    """

    def __init__(
        self, model: ResolvedModel, key: str, fingerprint: str, loaded: LoadedModel, missing: set[str]
    ) -> None:
        self.model = model
        self.key = key
        self.fingerprint = fingerprint
        self.missing = missing
        self.failed = ""
        self.loaded: LoadedModel | None = loaded
        self.preprocess: Preprocessing = loaded.preprocess
        self.kind = self.preprocess.fingerprint()
        self.facts: Facts
        self.example: Tensor
        self.assignment: Assignment
        self._images = 0
        self._seconds = 0.0

    @property
    def images_per_second(self) -> float | None:
        """Of predictions and the decoding that they waited for; None before there is one."""
        return self._images / self._seconds if self._seconds else None

    def count(self, images: int, seconds: float) -> None:
        """Add to the rate."""
        self._images += images
        self._seconds += seconds

    def write_card(self, store: PartStore, latency_ms: float) -> None:
        """Describe the model in the warehouse, which makes it visible.

        Parameters
        ----------
        store
            The warehouse's parts.
        latency_ms
            Time of one image's forward pass, in milliseconds.
        """
        row = {
            "key": self.key,
            "model": self.model.canonical,
            "label": self.model.label,
            "family": self.facts.family,
            "source": self.model.provider.name,
            "parameters": self.facts.parameters,
            "flops": self.facts.flops,
            "input_size": self.facts.input_size,
            "latency_ms": latency_ms,
            "images_per_second": self.images_per_second,
            "precision": self.assignment.precision,
            "weights_sha256": self.facts.weights_sha256,
            "preprocess": self.kind,
            "layer": self.facts.explanation_layer,
            "created_at": utc_now(),
        }
        store.write("models", EVERY_MODEL, self.key, pa.Table.from_pylist([row], PART_SCHEMAS["models"]))


def fingerprint_of(model: ResolvedModel, loaded: LoadedModel | None) -> str | None:
    """Identify a model's weights and preprocessing.

    Parameters
    ----------
    model
        The model.
    loaded
        The same, loaded; None if it is not.

    Returns
    -------
    str or None
        None if only the loaded model could tell.
    """
    known = model.fingerprint()
    if known is not None or loaded is None:
        return known
    return f"{state_sha256(loaded.module)} {loaded.preprocess.fingerprint()}"


def model_key(canonical: str, fingerprint: str, precision: str, classes: ClassTable) -> str:
    """Name of a model's parts: readable, and different whenever the predictions may be.

    Parameters
    ----------
    canonical
        ``provider:name``.
    fingerprint
        Identifies weights and preprocessing, see :func:`fingerprint_of`.
    precision
        Number type of the forward pass.
    classes
        The class table.
    """
    slug = re.sub(r"[^A-Za-z0-9_.]+", "-", canonical).strip("-.")[:60] or "model"
    identity = "\n".join((canonical, fingerprint, precision, classes.fingerprint()))
    return f"{slug}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
