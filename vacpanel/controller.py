"""From a selection to explanations: plans the task, asks the service, shows what comes back while it comes.

The three tasks of paper section 5.2 follow from the selection: many models on one image, one model over the images of a
class, one model over several classes.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import time
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING, Any, Literal, cast
from uuid import uuid4

import param

from vacpanel import serving
from vacpanel.facts import known_facts
from vacpanel.words import count, flag_words
from warehouse import UserError, VacpanelError

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    import numpy as np

    from etl.explain.requests import Explanation, Target
    from etl.explain.service import ExplanationService
    from vacpanel.state import Selection
    from warehouse import Warehouse

logger = logging.getLogger(__name__)
IMAGES_OF_A_CLASS = 24  # a class task explains the first so many images unless the user picks some
IMAGES_OF_A_TASK = 240  # and no more than this of all classes together
UPDATE_EVERY = 0.25  # s between two looks at what the service made: what is shown changes no more often than that
ANSWERED_AT_ONCE = 0.05  # s to wait for maps from the store before rows are shown without, and a bar
_CONTROLLER = "_vacpanel_controller"
# What a task follows from.
ASKED = ["model", "models", "classes", "images", "methods", "parameters", "target", "filter"]


@dataclass(frozen=True)
class Task:
    """What Run would do now.

    Attributes
    ----------
    models, images, methods
        Canonical model names, image ids and names of methods; every combination gives one map.
    label
        What the Run button says.
    problem
        Why it cannot run yet, as a sentence; empty when it can.
    """

    models: tuple[str, ...] = ()
    images: tuple[int, ...] = ()
    methods: tuple[str, ...] = ()
    label: str = "Explain"
    problem: str = ""

    @property
    def maps(self) -> list[tuple[str, int, str]]:
        """Model, image and method of every map, image by image, so that the first comparison is complete early."""
        return [(model, image, method) for image, method, model in product(self.images, self.methods, self.models)]


@dataclass(frozen=True, eq=False)
class Row:
    """One map that was asked for, at one moment: what is known of it, beside the numbers of model and image.

    Attributes
    ----------
    model, image_id, method
        What is explained, and how.
    facts
        What the warehouse knows of model and image, and what the explanation found.
    status
        ``"working"`` begins with loading the model; ``"stopped"`` is a preview that the user was content with.
    fraction
        How much of the work was done, in [0, 1].
    attention
        (h, w) float32 in [0, 1]: the map, or the preview so far.
    digest
        Key of the finished map in the store.
    error
        Why there is no map, as a sentence.
    """

    model: str
    image_id: int
    method: str
    facts: dict[str, Any] = field(default_factory=dict)
    status: Literal["waiting", "working", "stopped", "done", "failed"] = "waiting"
    fraction: float = 0.0
    attention: np.ndarray | None = None
    digest: str = ""
    error: str = ""

    @property
    def finished(self) -> bool:
        """Whether nothing more will come."""
        return self.status in {"done", "failed"}

    @property
    def visible(self) -> bool:
        """Whether there is a map or a preview that shows something: a constant one does not."""
        return self.attention is not None and bool(self.attention.any())


class Controller(param.Parameterized):
    """Requests explanations for one session's state; `rows` says at any time how far each of them is."""

    busy = param.Boolean(default=False, doc="Whether a task is running.")
    done = param.Integer(default=0, doc="Maps finished in the running or last task.")
    total = param.Integer(default=0, doc="Maps in the running or last task.")
    running = param.Magnitude(default=0.0, doc="How much of the map is done that is being made.")
    message = param.String(default="", doc="What is being done, in plain words.")
    rows = param.List(default=[], item_type=Row, doc="The maps of the running or last task, in the order of work.")

    def __init__(self, warehouse: Warehouse, state: Selection) -> None:
        super().__init__()
        self.warehouse = warehouse
        self.state = state
        self._run: _Run | None = None
        self._answered: _Run | None = None
        self._client = uuid4().hex  # the engine shares its time fairly between sessions
        state.param.watch(self._selection_changed, ASKED)

    @classmethod
    def of(cls, warehouse: Warehouse, state: Selection) -> Controller:
        """Return the one controller of a state, so that all views that share the state share the task."""
        # Kept on the state: a table of controllers, even a weak one, would keep views alive through their callbacks.
        found = vars(state).get(_CONTROLLER)
        if not isinstance(found, cls):
            found = cls(warehouse, state)
            setattr(state, _CONTROLLER, found)
        return found

    def task(self) -> Task:
        """Derive the task from the selection."""
        if missing := serving.missing_packages():
            return Task(problem=missing)
        state = self.state
        models = tuple(state.models or ([state.model] if state.model else []))
        if not models:
            return Task(problem="Choose one or more models first: tap one in the scatter or tick some here.")
        images = tuple(state.images)
        if not images:
            if not state.classes:
                return Task(models, problem="Choose a class or an image first: tap a bar or a point of the graph.")
            room = min(IMAGES_OF_A_CLASS * len(state.classes), IMAGES_OF_A_TASK)
            found = self.warehouse.images_of_classes(state.classes, room, state.filter)
            images = tuple(map(int, found["image_id"]))
            if not images:
                all_ = "" if not state.filter else " that the filter leaves"
                return Task(models, problem=f"The selected class has no images in this warehouse{all_}.")
            if len(models) > 1:
                # Comparing models means one image (paper section 5.3): the first, until one is picked.
                images = images[:1]
        label = f"Explain {count(len(models), 'model')} on {count(len(images), 'image')}"
        if len(state.methods) > 1:
            label += f" with {count(len(state.methods), 'method')}"
        return Task(models, images, tuple(state.methods), label)

    async def run(self) -> None:
        """Run the task; a task that is still running is stopped first."""
        self.cancel()
        task = self.task()
        if task.problem:
            self.message = task.problem
            return
        run = self._run = self._answered = _Run(task, *self.how())
        try:
            await self._follow(run)
        except VacpanelError as error:
            self._end(run, str(error))
        except Exception:
            logger.exception("The task failed")
            self._end(run, "The task failed; the server's log says why.")
            raise

    async def _follow(self, run: _Run) -> None:
        """Show the waiting rows, then, in steps of `UPDATE_EVERY`, whatever became of them."""
        started = time.monotonic()
        # Both take time: the first call imports torch, and every request looks into the warehouse.
        asking = asyncio.create_task(
            asyncio.to_thread(lambda: run.ask(serving.explanation_service(self.warehouse), self._client))
        )
        looking = asyncio.create_task(asyncio.to_thread(known_facts, self.warehouse, run.task.models, run.task.images))
        await asyncio.wait([asking, looking], timeout=ANSWERED_AT_ONCE)
        if self._run is run:
            there = looking.done() and run.answered  # before anybody could read that it is awaited
            loading = {} if there else {"busy": True, "message": "Loading the explanation engine"}
            self.param.update(done=0, running=0.0, total=len(run.task.maps), **loading)
        facts = await looking
        if self._run is run:
            rows = [Row(*asked, facts=facts[asked[:2]]) for asked in run.task.maps]
            if run.answered:
                self._look(run, rows)
            else:
                self.rows = rows
        await asking
        if self._run is not run:
            run.withdraw()
            return
        self.message = "Explaining"
        everything = asyncio.gather(*map(asyncio.wrap_future, run.futures), return_exceptions=True)
        self._look(run, self.rows)
        while not everything.done():
            await asyncio.wait([everything], timeout=UPDATE_EVERY)
            if self._run is not run:  # superseded or cancelled: stale results never paint
                return
            self._look(run, self.rows)
        failed = sum(row.status == "failed" for row in self.rows)
        made = f"{count(self.total - failed, 'map')} in {time.monotonic() - started:.1f} s"
        self._end(run, f"{made}, {failed} failed" if failed else made)

    def finish(self, progress: Callable[[float, int], None] = lambda _done, _total: None) -> list[Row]:
        """Run the task and wait for it, for those who have no page to look at; `rows` stays as it is.

        Parameters
        ----------
        progress
            Called several times a second with the maps that are done, parts included, and the number of all.

        Raises
        ------
        UserError
            If the selection is no task, as `Task.problem` says.
        """
        task = self.task()
        if task.problem:
            raise UserError(task.problem)
        run, facts = _Run(task, *self.how()), known_facts(self.warehouse, task.models, task.images)
        rows = [Row(*asked, facts=facts[asked[:2]]) for asked in task.maps]
        try:
            run.ask(serving.explanation_service(self.warehouse), self._client)
            while not all(row.finished for row in rows):
                left = [future for future in run.futures if not future.done()]
                concurrent.futures.wait(left, UPDATE_EVERY, concurrent.futures.FIRST_COMPLETED)
                rows = [row if row.finished else run.now(i, row) for i, row in enumerate(rows)]
                progress(sum(1.0 if row.finished else row.fraction for row in rows), len(rows))
        finally:
            run.withdraw()  # of use when the user interrupts
        if any(row.digest and not row.facts["cached"] for row in rows):
            serving.publish_soon(self.warehouse)
        return rows

    def _look(self, run: _Run, before: list[Row]) -> None:
        """Show what has become of the rows."""
        rows = [row if row.finished else run.now(i, row) for i, row in enumerate(before)]
        new = [row for row, old in zip(rows, before, strict=True) if row.finished and row is not old]
        running = max((row.fraction for row in rows if not row.finished), default=0.0)
        if before is not self.rows or any(row is not old for row, old in zip(rows, before, strict=True)):
            self.param.update(rows=rows, done=self.done + len(new), running=running)
        # Not at the end of the task: a cancelled one has made maps, too.
        if any(row.digest and not row.facts["cached"] for row in new):
            serving.publish_soon(self.warehouse)

    def cancel(self) -> None:
        """Stop the running task: what is finished stays, and so do previews, as what they are."""
        if self._run is not None:
            self._end(self._run, f"Cancelled after {count(self.done, 'map')}")

    def _end(self, run: _Run, message: str) -> None:
        if self._run is not run:
            return
        left = [row for row in self.rows if row.finished or row.visible]
        self._stop(
            rows=[row if row.finished else replace(row, status="stopped") for row in left],
            message=message,
        )

    def clear(self) -> None:
        """Stop the running task and forget its rows."""
        self._stop(rows=[], message="", done=0, total=0)
        self._answered = None

    def _stop(self, **left: Any) -> None:
        run, self._run = self._run, None
        if run is not None:
            run.withdraw()
        self.param.update(busy=False, running=0.0, **left)

    def how(self) -> tuple[dict[str, dict[str, Any]], Target]:
        """Return parameters by method, and the target, as a task would have them."""
        return dict(self.state.parameters), cast("Target", self.state.target_class)

    def _selection_changed(self, *_: param.parameterized.Event) -> None:
        """Drop the rows once they no longer answer what is selected."""
        if self._answered is None:
            return
        task = self.task()
        asked = self._answered
        if (task.maps, self.how()) != (asked.task.maps, asked.how):
            self.clear()


class _Run:
    """One task on its way to the service and back."""

    def __init__(self, task: Task, parameters: dict[str, dict[str, Any]], target: Target) -> None:
        self.task = task
        self.how = (parameters, target)
        self.futures: list[Future[Explanation]] = []
        self._heard: dict[int, tuple[float, np.ndarray | None]] = {}

    @property
    def answered(self) -> bool:
        """Whether all that was asked for is there."""
        return bool(self.futures) and all(future.done() for future in self.futures)

    def ask(self, service: ExplanationService, client: str) -> None:
        """Request all maps; answers from the cache are there when this returns."""
        from etl.explain.requests import Request

        parameters, target = self.how
        requests = [Request(*asked, target, parameters.get(asked[-1], {})) for asked in self.task.maps]
        self.futures = service.request_many(requests, self._hear, client)

    def withdraw(self) -> None:
        """Tell the service that nobody waits any more."""
        for future in self.futures:
            future.cancel()

    def _hear(self, index: int, fraction: float, attention: np.ndarray | None) -> None:
        """Note how far a map is; called by the service's threads, many times a second, and read by `now`."""
        if attention is None and index in self._heard:
            attention = self._heard[index][1]
        self._heard[index] = (min(fraction, 1.0), attention)

    def now(self, index: int, row: Row) -> Row:
        """Return what has become of an unfinished row; the row itself if nothing has."""
        future = self.futures[index]
        if future.done():
            return _finished(row, future)
        if index not in self._heard:
            return row
        fraction, attention = self._heard[index]
        if row.status == "working" and row.fraction == fraction and row.attention is attention:
            return row
        return replace(row, status="working", fraction=fraction, attention=attention)


def _finished(row: Row, future: Future[Explanation]) -> Row:
    if future.cancelled():
        return replace(row, status="failed", error="The explanation engine was stopped; run the task again.")
    error = future.exception()
    if error is not None:
        if not isinstance(error, VacpanelError):
            logger.error("Explaining %s on image %s failed", row.model, row.image_id, exc_info=error)
        return replace(row, status="failed", attention=None, error=str(error) or type(error).__name__)
    result = future.result()
    found = {
        "target_class_id": result.target_class_id,
        "confidence": result.confidence,
        "roi_area": result.roi_area if result.map.any() else None,
        "seconds": result.seconds,
        "cached": result.cached,
        "flags": [flag_words(flag) for flag in result.flags],
        "measures": dict(result.measures),
    }
    return replace(
        row,
        status="done",
        fraction=1.0,
        digest=result.digest,
        attention=result.map,
        facts=row.facts | found,
    )
