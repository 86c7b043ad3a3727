"""The part of a run in which parts are computed, models completed and results published."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from etl.background import Background
from etl.decode import Decoder, ShardPixels
from etl.derive import Deriver
from etl.predict import write_unit
from etl.registry import EVERY_MODEL, Shard
from warehouse.errors import UserError
from warehouse.parts import DerivedStore, PartStore
from warehouse.publish import publish

if TYPE_CHECKING:
    from etl.classes import ClassTable
    from etl.job import Job
    from etl.jobs import JobQueue
    from etl.report import Reporter, RunReport
    from etl.runs import Interrupt
    from warehouse.folder import Folder


class Worker:
    """Computes what is missing.

    Parameters
    ----------
    folder
        The warehouse.
    decoder
        Reads the shards.
    classes
        The class table.
    shards
        The shards to predict.
    image_layout
        Whether to lay out the images of each model.
    publish_every
        Least number of seconds between two publications.
    reporter
        Is told what happens.
    interrupt
        Stops the work after the current unit.
    """

    def __init__(
        self,
        folder: Folder,
        decoder: Decoder,
        classes: ClassTable,
        shards: list[Shard],
        image_layout: bool,
        publish_every: float,
        reporter: Reporter,
        interrupt: Interrupt,
    ) -> None:
        self._folder = folder
        self._store = PartStore(folder)
        self._decoder = decoder
        self._classes = classes
        self._shards = shards
        self._image_layout = image_layout
        self._publish_every = publish_every
        self._published = -publish_every
        self._reporter = reporter
        self._interrupt = interrupt
        self._deriver = Deriver(self._store, DerivedStore(folder), len(classes))

    def compute(self, queue: JobQueue, report: RunReport) -> None:
        """Run every missing unit; complete each model as soon as its last one is done.

        Parameters
        ----------
        queue
            The models with something to do.
        report
            Takes what was computed and what failed.
        """
        self._reporter.plan(len(queue.jobs), queue.work)
        with Background() as background:
            self._groups(queue, report, background)
            background.wait()

    def derive(self) -> None:
        """Bring the layouts of all complete models up to date."""
        keys = current_models(self._store)
        self._reporter.step("laying out classes")
        self._deriver.class_layouts(keys)
        if self._image_layout:
            for key in keys:
                self._reporter.step(f"laying out the images of {key}")
                self._deriver.image_layout(key)

    def _groups(self, queue: JobQueue, report: RunReport, background: Background) -> None:
        for group in queue.groups():
            for shard in self._shards:
                jobs = [job for job in group if shard.name in job.missing and not job.failed]
                if jobs and not self._interrupt.requested:
                    background.share()
                    report.computed += self._units(shard, jobs)
            for job in group:
                if job.failed:
                    report.failed[job.model.canonical] = job.failed
                    self._reporter.dropped(sum(len(s) for s in self._shards if s.name in job.missing))
                    self._reporter.say(f"{job.model.canonical} failed: {job.failed}")
                elif not job.missing:
                    background.wait()  # the latency is measured in quiet
                    job.write_card(self._store, queue.settings.precision)
                    background.start(partial(self._complete, job))
            if self._interrupt.requested:
                return

    def _units(self, shard: Shard, jobs: list[Job]) -> int:
        """Run models over one shard; returns the number of predictions."""
        computed = 0
        start = time.perf_counter()
        decoded = self._decoder.decode(shard, {job.kind: job.preprocess for job in jobs})
        for job in jobs:
            images = decoded[job.kind]
            try:
                if not isinstance(images, ShardPixels):
                    raise images
                write_unit(self._store, job.key, shard.name, job.runner, images, len(self._classes))
            except UserError as error:
                job.failed = str(error)
                continue
            now = time.perf_counter()
            job.count(len(shard), now - start)
            self._reporter.predicted(len(shard), now - start)
            job.missing.remove(shard.name)
            computed += len(images.image_ids)
            start = now
        return computed

    def _complete(self, job: Job) -> None:
        """Lay out and publish a model whose predictions and card are there."""
        self._reporter.step(f"laying out {job.model.canonical}")
        self._deriver.interim_class_layout(job.key)
        if self._image_layout:
            self._deriver.image_layout(job.key)
        rate = f", {job.images_per_second:.0f} images/s" if job.images_per_second else ""
        self._reporter.completed(f"{job.model.canonical} is complete{rate}")
        if time.monotonic() - self._published >= self._publish_every:
            publish(self._folder)
            self._published = time.monotonic()


def current_models(store: PartStore) -> list[str]:
    """Keys of the complete models, sorted; of several with one name (other weights, other precision) the newest."""
    newest: dict[str, tuple[object, str]] = {}
    for key in store.names("models", EVERY_MODEL):
        card = store.read("models", EVERY_MODEL, key)
        name, age = card["model"][0].as_py(), (card["created_at"][0].as_py(), key)
        newest[name] = max(newest.get(name, age), age)
    return sorted(key for _, key in newest.values())
