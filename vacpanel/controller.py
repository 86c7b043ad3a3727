"""From a selection to explanations: plans the task, asks the service, streams what comes back.

The three tasks of paper section 5.2 follow from the selection: many models on one image, one model over the images of a
class, one model over several classes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

import param

from vacpanel import serving
from vacpanel.words import count
from warehouse import VacpanelError

if TYPE_CHECKING:
    import numpy as np

    from vacpanel.state import Selection
    from warehouse import Warehouse

logger = logging.getLogger(__name__)
IMAGES_OF_A_CLASS = 24  # a class task explains the first so many images unless the user picks some
_CONTROLLER = "_vacpanel_controller"


@dataclass(frozen=True)
class Task:
    """What Run would do now.

    Attributes
    ----------
    models, images
        Canonical model names and image ids; every pair gives one map.
    label
        What the Run button says.
    problem
        Why it cannot run yet, as a sentence; empty when it can.
    """

    models: tuple[str, ...] = ()
    images: tuple[int, ...] = ()
    label: str = "Explain"
    problem: str = ""


@dataclass(frozen=True, eq=False)
class Row:
    """One finished map, or one failure, with the numbers shown beside it."""

    model: str
    image_id: int
    digest: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    attention: np.ndarray | None = None
    error: str = ""


class Controller(param.Parameterized):
    """Requests explanations for one session's state; finished rows appear in `rows` one by one."""

    busy = param.Boolean(default=False, doc="Whether a task is running.")
    done = param.Integer(default=0, doc="Maps finished in the running or last task.")
    total = param.Integer(default=0, doc="Maps in the running or last task.")
    message = param.String(default="", doc="What is being done, in plain words.")
    rows = param.List(default=[], item_type=Row, doc="Finished rows of the running or last task.")

    def __init__(self, warehouse: Warehouse, state: Selection) -> None:
        super().__init__()
        self.warehouse = warehouse
        self.state = state
        self._futures: list[asyncio.Future] = []
        self._run: object | None = None

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
        state = self.state
        models = tuple(state.models or ([state.model] if state.model else []))
        if not models:
            return Task(problem="Choose one or more models first: tap one in the scatter or tick some here.")
        images = tuple(state.images)
        if not images:
            if not state.classes:
                return Task(models, problem="Choose a class or an image first: tap a bar or a point of the graph.")
            images = tuple(
                int(image_id)
                for class_id in state.classes
                for image_id in self.warehouse.images_of(class_id, limit=IMAGES_OF_A_CLASS)["image_id"]
            )
            if not images:
                return Task(models, problem="The selected class has no images in this warehouse.")
            if len(models) > 1:
                # Comparing models means one image (paper section 5.3): the first, until one is picked.
                images = images[:1]
        label = f"Explain {count(len(models), 'model')} on {count(len(images), 'image')}"
        return Task(models, images, label)

    async def run(self) -> None:
        """Run the task; a task that is still running is cancelled first."""
        self.cancel()
        task = self.task()
        if task.problem:
            self.message = task.problem
            return
        token = self._run = object()
        self.param.update(
            busy=True,
            done=0,
            total=len(task.models) * len(task.images),
            rows=[],
            message="Loading the explanation engine",
        )
        try:
            await self._stream(task, token)
        except VacpanelError as error:
            self._finish(token, str(error))
        except Exception:
            logger.exception("The task failed")
            self._finish(token, "The task failed; the server's log says why.")
            raise

    async def _stream(self, task: Task, token: object) -> None:
        loop = asyncio.get_running_loop()
        service = await loop.run_in_executor(None, serving.explanation_service, self.warehouse)
        from etl.explain.service import Request

        if self._run is not token:
            return
        started = time.monotonic()
        state = self.state
        # Image by image, so that the first comparison is complete early.
        pairs = [(model, image_id) for image_id, model in product(task.images, task.models)]
        requests = [Request(model, image_id, state.method, state.target) for model, image_id in pairs]
        futures = [asyncio.wrap_future(future) for future in service.request_many(requests)]
        waiting = dict(zip(futures, pairs, strict=True))
        self._futures = futures
        self.message = "Explaining"
        while waiting:
            finished, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if self._run is not token:  # superseded or cancelled: stale results never paint
                return
            new = [self._row(*waiting.pop(future), future) for future in futures if future in finished]
            self.param.update(rows=[*self.rows, *new], done=self.done + len(new))
            # Not at the end of the task: a cancelled one has made maps, too.
            if any(row.digest and not row.facts["cached"] for row in new):
                serving.publish_soon(self.warehouse)
        self._finish(token, f"{count(self.total, 'map')} in {time.monotonic() - started:.1f} s")

    def _finish(self, token: object, message: str) -> None:
        if self._run is token:
            self._futures = []
            self.param.update(busy=False, message=message)

    def cancel(self) -> None:
        """Stop the running task: what waits is withdrawn, what runs is not shown."""
        if self.busy:
            self._run = None
            for future in self._futures:
                future.cancel()
            self._futures = []
            self.param.update(busy=False, message=f"Cancelled after {count(self.done, 'map')}")

    def clear(self) -> None:
        """Stop the running task and forget its rows."""
        self.cancel()
        self.param.update(rows=[], message="", done=0, total=0)

    def _row(self, model: str, image_id: int, future: asyncio.Future) -> Row:
        facts = self._facts(model, image_id)
        error = future.exception()
        if error is not None:
            if not isinstance(error, VacpanelError):
                logger.error("Explaining %s on image %s failed", model, image_id, exc_info=error)
            return Row(model, image_id, facts=facts, error=str(error) or type(error).__name__)
        result = future.result()
        facts |= {
            "target_class_id": result.target_class_id,
            "confidence": result.confidence,
            "roi_area": result.roi_area,
            "seconds": result.seconds,
            "cached": result.cached,
            "flags": list(result.flags),
        }
        return Row(model, image_id, result.digest, facts, result.map)

    def _facts(self, model: str, image_id: int) -> dict[str, Any]:
        """Return what the warehouse knows of this model and this image."""
        row = self.warehouse.model_row(model)
        image = self.warehouse.image(image_id)
        prediction = self.warehouse.predictions([model], [image_id])
        accuracy = self.warehouse.class_accuracy_of([image.class_id])
        at = [i for i, name in enumerate(accuracy["model"]) if name == model]
        facts: dict[str, Any] = {
            "label": row.label,
            "top1": row.top1,
            "class_id": image.class_id,
            "class_name": image.class_name,
            "class_top1": float(accuracy["top1"][at[0]]) if at else None,
        }
        if len(prediction["image_id"]):
            facts |= {
                name: prediction[name][0].item() if hasattr(prediction[name][0], "item") else prediction[name][0]
                for name in ("predicted_class_id", "predicted_class_name", "confidence", "correct")
            }
        return facts
