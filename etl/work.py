"""The part of a run in which parts are computed, models completed and results published."""

from __future__ import annotations

import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from functools import partial
from typing import TYPE_CHECKING

from etl.background import Background
from etl.derive import Deriver
from etl.job import model_key
from etl.registry import EVERY_MODEL, Shard
from etl.station import Outcome, Unit
from warehouse.errors import UserError
from warehouse.parts import DerivedStore, PartStore
from warehouse.publish import publish

if TYPE_CHECKING:
    from etl.classes import ClassTable
    from etl.job import Job
    from etl.jobs import JobQueue
    from etl.preprocess import Preprocessing
    from etl.report import Reporter, RunReport
    from etl.runs import Interrupt
    from etl.workplace import Workplace
    from warehouse.folder import Folder


_REST = 5.0
"""Times that a publication takes until the next one, since each writes everything anew."""


class Worker:
    """Has computed what is missing.

    Parameters
    ----------
    folder
        The warehouse.
    workplace
        Where units are computed.
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
        workplace: Workplace,
        classes: ClassTable,
        shards: list[Shard],
        image_layout: bool,
        publish_every: float,
        reporter: Reporter,
        interrupt: Interrupt,
    ) -> None:
        self._folder = folder
        self._store = PartStore(folder)
        self._workplace = workplace
        self._classes = classes
        self._shards = shards
        self._image_layout = image_layout
        self._publish_every = publish_every
        self._published = -publish_every
        self._publishing = 0.0  # seconds that it took
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
            for group in queue.groups():
                self._group(group, queue.later(group), report)
                for job in group:
                    self._finish(job, report, background)
                self._workplace.forget()
                if self._interrupt.requested:
                    break
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

    def _group(self, group: list[Job], later: tuple[Preprocessing, ...], report: RunReport) -> None:
        """Compute all units of a group of models."""
        for job in group:
            if job.loaded is not None:
                try:
                    self._workplace.prepare(job.assignment, job.loaded)
                except UserError as error:
                    job.failed = str(error)
        jobs = {job.key: job for job in group}
        pending: dict[Future[list[Outcome]], Unit] = {}
        for shard in self._shards:
            while len(pending) >= self._workplace.ahead:
                self._collect(pending, jobs, report)
            wanted = tuple(j.assignment for j in group if shard.name in j.missing and not j.failed)
            if self._interrupt.requested:
                break
            if wanted:
                unit = Unit(shard, wanted, len(self._classes), later)
                pending[self._workplace.submit(unit)] = unit
        while pending:
            if self._interrupt.requested:
                for future in pending:
                    future.cancel()  # what is being computed here goes on; a cluster's workers finish it unasked
            self._collect(pending, jobs, report)

    def _collect(self, pending: dict[Future[list[Outcome]], Unit], jobs: dict[str, Job], report: RunReport) -> None:
        """Wait for a unit, and note what came of it."""
        done, _ = wait(pending, return_when=FIRST_COMPLETED)
        for future in done:
            unit = pending.pop(future)
            if future.cancelled():
                continue
            for outcome in self._workplace.outcomes(future, unit):
                job, images = jobs[outcome.key], len(unit.shard)
                if outcome.failure:
                    job.failed = job.failed or outcome.failure
                    continue
                job.missing.discard(unit.shard.name)
                job.count(images, outcome.seconds)
                self._reporter.predicted(images, outcome.seconds)
                report.computed += outcome.predictions

    def _finish(self, job: Job, report: RunReport, background: Background) -> None:
        """Report a model that failed; complete one that has all its predictions."""
        latency_ms = None
        if not (job.missing or job.failed or self._store.exists("models", EVERY_MODEL, job.key)):
            background.wait()  # the latency is measured in quiet
            try:
                latency_ms = self._workplace.latency_ms(job.assignment, self._shards)
            except UserError as error:
                job.failed = str(error)
        if job.failed:
            report.failed[job.model.canonical] = job.failed
            self._reporter.dropped(sum(len(s) for s in self._shards if s.name in job.missing))
            self._reporter.say(f"{job.model.canonical} failed: {job.failed}")
        elif not job.missing:
            background.start(partial(self._complete, job, report, latency_ms))

    def _changed(self, job: Job) -> float | None:
        """Share of top-1 predictions that differ from those in float32; None if the warehouse does not have both."""
        if job.assignment.precision == "float32":
            return None
        full = model_key(job.model.canonical, job.fingerprint, "float32", self._classes)
        names = sorted({*self._store.names("predictions", full)} & {shard.name for shard in self._shards})
        ours, theirs = (
            self._store.read_many("predictions", key, names)["predicted_class_id"].to_numpy() for key in (job.key, full)
        )
        return float((ours != theirs).mean()) if len(ours) else None

    def _complete(self, job: Job, report: RunReport, latency_ms: float | None) -> None:
        """Lay out a model whose predictions are there, write the card that makes it visible if it has none, publish."""
        self._reporter.step(f"laying out {job.model.canonical}")
        self._deriver.interim_class_layout(job.key)
        if self._image_layout:
            self._deriver.image_layout(job.key)
        if latency_ms is not None:
            job.write_card(self._store, latency_ms)
        rate = f", {job.images_per_second:.0f} images/s" if job.images_per_second else ""
        changed = self._changed(job)
        if changed is not None:
            report.changed[job.model.canonical] = changed
            rate += f"; {job.assignment.precision} changes {changed:.2%} of its float32 top-1 predictions"
        self._reporter.completed(f"{job.model.canonical} is complete{rate}")
        started = time.monotonic()
        if started - self._published >= max(self._publish_every, _REST * self._publishing):
            publish(self._folder)
            self._published = time.monotonic()
            self._publishing = self._published - started


def current_models(store: PartStore) -> list[str]:
    """Keys of the complete models, sorted; of several with one name (other weights, other precision) the newest."""
    newest: dict[str, tuple[object, str]] = {}
    for key in store.names("models", EVERY_MODEL):
        card = store.read("models", EVERY_MODEL, key)
        name, age = card["model"][0].as_py(), (card["created_at"][0].as_py(), key)
        newest[name] = max(newest.get(name, age), age)
    return sorted(key for _, key in newest.values())
