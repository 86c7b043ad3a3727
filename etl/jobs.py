"""Which models have what to do, and in which groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from etl import decode
from etl.classes import ClassTable, match_outputs
from etl.decode import NoReadableImage, example_of
from etl.job import Job, fingerprint_of, model_key
from etl.probe import probe
from etl.registry import EVERY_MODEL, Shard
from etl.station import MODEL_BUDGET, Assignment
from warehouse.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from etl.models import ResolvedModel
    from etl.preprocess import Preprocessing
    from warehouse.parts import PartStore


@dataclass(frozen=True)
class Settings:
    """How to run models.

    Attributes
    ----------
    precision
        A key of :data:`etl.predict.PRECISIONS`.
    batch_size
        Images per forward pass; None chooses.
    group_size
        Models that share each decoded image; None chooses.
    """

    precision: str
    batch_size: int | None = None
    group_size: int | None = None


class JobQueue:
    """The models of a run that have something to do, the cheapest first.

    Parameters
    ----------
    store
        The warehouse's parts.
    classes
        The class table.
    shards
        The shards to predict.
    settings
        How to run.
    remembers
        Whether pixels that fit into memory are kept for the next group of models.

    Attributes
    ----------
    jobs
        The models with something to do.
    failed
        Reason by the name of each model that cannot be used.
    """

    def __init__(
        self, store: PartStore, classes: ClassTable, shards: Sequence[Shard], settings: Settings, remembers: bool = True
    ) -> None:
        self.settings = settings
        self.jobs: list[Job] = []
        self.failed: dict[str, str] = {}
        self._store = store
        self._remembers = remembers
        self._classes = classes
        self._shards = shards
        self._held = 0

    @property
    def work(self) -> int:
        """Predictions to make, images x models."""
        return sum(len(shard) for job in self.jobs for shard in self._shards if shard.name in job.missing)

    def add(self, model: ResolvedModel) -> None:
        """Take in a model, unless it has nothing to do or cannot be used.

        Raises
        ------
        etl.decode.NoReadableImage
            If there is no image to try it on.
        """
        try:
            job = self._job(model)
            if job is not None:
                self._prepare(job)
        except NoReadableImage:
            raise
        except UserError as error:
            self.failed[model.canonical] = str(error)
        except Exception as error:  # noqa: BLE001 - a provider may raise anything
            self.failed[model.canonical] = f"{type(error).__name__}: {error}"
        else:
            if job is not None:
                self.jobs.append(job)
                self.jobs.sort(key=lambda j: (j.facts.flops, j.model.canonical))

    def groups(self) -> Iterator[list[Job]]:
        """Yield the models that run together; what is held of them is dropped afterwards."""
        for group in self._grouped():
            yield group
            for job in group:
                job.loaded = None

    def _job(self, model: ResolvedModel) -> Job | None:
        loaded, fingerprint = None, fingerprint_of(model, None)
        if fingerprint is None:
            loaded = model.load()
            fingerprint = fingerprint_of(model, loaded)
            assert fingerprint is not None
        key = model_key(model.canonical, fingerprint, self.settings.precision, self._classes)
        missing = {shard.name for shard in self._shards} - set(self._store.names("predictions", key))
        if not missing and self._store.exists("models", EVERY_MODEL, key):
            return None
        return Job(model, key, fingerprint, loaded or model.load(), missing)

    def _prepare(self, job: Job) -> None:
        loaded = job.loaded
        assert loaded is not None
        order = match_outputs(self._classes, loaded.outputs, loaded.class_names, loaded.class_wnids)
        job.example = example_of(self._shards, loaded.preprocess)
        job.facts = probe(loaded, job.example)
        pixels = job.example.shape[2] * job.example.shape[3]
        job.assignment = Assignment(
            job.model.canonical,
            job.key,
            job.fingerprint,
            order,
            job.facts.last_layer,
            self.settings.precision,
            self.settings.batch_size,
            pixels,
            job.facts.bytes,
        )
        if self._held + job.facts.bytes > MODEL_BUDGET:
            job.loaded = None  # loaded again when its turn comes
        else:
            self._held += job.facts.bytes

    def later(self, group: list[Job]) -> tuple[Preprocessing, ...]:
        """Return what models after a group will want to see, if pixels are kept for them; each kind once."""
        if not (self._remembers and self._fits()):
            return ()
        after = self.jobs[self.jobs.index(group[-1]) + 1 :]
        return tuple({job.kind: job.preprocess for job in after}.values())

    def _grouped(self) -> Iterator[list[Job]]:
        size = self.settings.group_size
        if size is None and self._remembers and self._fits():
            size = 1
        group: list[Job] = []
        for job in self.jobs:
            full = sum(j.facts.bytes for j in group) + job.facts.bytes > MODEL_BUDGET
            if group and (full if size is None else len(group) == size):
                yield group
                group = []
            group.append(job)
        if group:
            yield group

    def _fits(self) -> bool:
        """Whether the pixels of all images fit into the decoder's memory, for every kind of preprocessing."""
        images = sum(len(shard) for shard in self._shards)
        kinds = {job.kind: job.example.numel() * job.example.element_size() for job in self.jobs}
        return images * sum(kinds.values()) <= decode.MEMORY_BUDGET
