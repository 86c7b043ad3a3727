"""Computing explanations on a device: images in, maps with their numbers out."""

from __future__ import annotations

import copy
import time
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import torch

from etl.explain.held import HeldModel, HeldModels
from etl.explain.measures import measure
from etl.explain.postprocess import degenerate, normalise
from etl.explain.protocol import Attribution, Context, canonical
from etl.images import UnreadableImage, read_image
from warehouse.errors import UserError
from warehouse.maps import StoredMap

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from etl.explain.prepared import PreparedModel
    from etl.explain.scheduler import Turn
    from etl.explain.task import Task
    from etl.images import DecodedImage

MEMORY = 2 << 30
"""Bytes of model parameters that are kept ready."""

PREVIEW_EVERY = 0.1
"""Seconds between two previews: each has to be fetched from the device."""


class Computer:
    """Computes the maps of tasks with models that it keeps ready. Any thread may ask, one at a time has the device.

    Parameters
    ----------
    device
        Where models run.
    memory
        Bytes of model parameters to keep ready.
    """

    def __init__(self, device: torch.device, memory: int = MEMORY) -> None:
        self.device = device
        self.models = HeldModels(device, memory)
        self._running: list[PreparedModel] = []
        self._forwards = 0

    @property
    def forwards(self) -> int:
        """Images that went forward through a model so far."""
        return self._forwards + sum(prepared.forwards for prepared in self._running)

    def explain(self, tasks: Sequence[Task], turn: Turn) -> list[StoredMap | BaseException]:
        """Compute the maps of tasks of one model, method and parameters.

        Parameters
        ----------
        tasks
            What to compute.
        turn
            Of the queue that calls.

        Returns
        -------
        list of StoredMap or BaseException
            One for each task: an image that cannot be read fails alone.

        Raises
        ------
        Cancelled
            If nobody waits any more.
        UserError
            If the model cannot be loaded, or the method fails.
        """
        turn.report(0.0)
        results: dict[int, StoredMap | BaseException] = {}
        images: dict[int, DecodedImage] = {}
        for i, task in enumerate(tasks):
            try:
                images[i] = _decoded(task)
            except UserError as error:
                results[i] = error
        if images:
            held = self._model(tasks[0], next(iter(images.values())), turn)
            pixels: defaultdict[torch.Size, dict[int, Tensor]] = defaultdict(dict)
            for i, decoded in images.items():
                try:
                    one = held.preprocess.pixels(decoded.image)
                except Exception as error:  # noqa: BLE001 - a user's transform may raise anything
                    results[i] = error
                else:
                    pixels[one.shape][i] = one
            for alike in pixels.values():
                found = self._attribute([tasks[i] for i in alike], held, list(alike.values()), turn)
                hashed = (
                    replace(result, image_sha256=images[i].sha256) for i, result in zip(alike, found, strict=True)
                )
                results |= zip(alike, hashed, strict=True)
        return [results[i] for i in range(len(tasks))]

    def _model(self, task: Task, example: DecodedImage, turn: Turn) -> HeldModel:
        held = self.models.find(task.model)
        if held is None:
            with turn.loading(), turn.aside():
                # Somebody whose work had begun before may have been quicker.
                held = self.models.find(task.model) or self.models.load(task.model, task.classes, example.image)
        return held

    def _attribute(self, tasks: list[Task], held: HeldModel, pixels: list[Tensor], turn: Turn) -> list[StoredMap]:
        """Compute maps of images of equal size, (3, H, W) each."""
        task = tasks[0]
        # A model of its own for each run, sharing all but the counts: others go through the same one in between.
        prepared = copy.copy(held.prepared)
        prepared.forwards = prepared.backwards = 0
        self._running.append(prepared)
        before = turn.seconds
        context = Context(cancelled=turn.cancelled, progress=_reporter(turn, tasks))
        try:
            # Random numbers belong to the whole process: restoring their state here would rewind other threads.
            with prepared.session(restore_random=False):
                batch = held.preprocess.batch(torch.stack(pixels).to(self.device))
                targets = None if task.target is None else torch.tensor([task.target for task in tasks])
                found = task.method.attribute(prepared, prepared.images(batch), targets, task.parameters, context)
                said = _predictions(found, tasks, prepared, batch)
                low = normalise(found.maps).cpu().numpy()
                reasons = [() if reason is None else (reason,) for reason in degenerate(found.maps)]
            # Only the small map leaves the device; enlarging it here gives the same numbers.
            attention = normalise(torch.from_numpy(low), (batch.shape[2], batch.shape[3])).numpy()
        finally:
            self._running.remove(prepared)
            self._forwards += prepared.forwards
        seconds = (turn.seconds - before) / len(tasks)
        return [
            StoredMap(
                digest=task.digest,
                model=task.model.model,
                model_key=task.model.key,
                image_id=task.image.image_id,
                image_sha256=task.image.sha256 or "",
                method=task.method.name,
                method_version=task.method.version,
                target_class_id=int(found.targets[i]),
                parameters=canonical(task.parameters),
                height=low.shape[1],
                width=low.shape[2],
                map=low[i],
                predicted_class_id=said[i][0],
                confidence=said[i][1],
                measures=measure(attention[i]),
                flags=[*found.flags[i], *reasons[i]],
                seconds=seconds,
                created_at=datetime.now(UTC).replace(tzinfo=None),
            )
            for i, task in enumerate(tasks)
        ]


def _predictions(found: Attribution, tasks: list[Task], model: PreparedModel, batch: Tensor) -> list[tuple[int, float]]:
    """Return class and confidence that the model predicts for each image: as its method saw, or as was known before."""
    known = [task.prediction for task in tasks if task.prediction is not None]
    if found.logits is None and len(known) == len(tasks):
        return known
    logits = model.scores(model.images(batch)) if found.logits is None else found.logits
    confidence, predicted = torch.softmax(logits.float(), dim=1).max(dim=1)
    return list(zip(predicted.tolist(), confidence.tolist(), strict=True))


def _decoded(task: Task) -> DecodedImage:
    try:
        decoded = read_image(task.image.file)
    except UnreadableImage as error:
        raise UserError(f"The image {task.image.path} cannot be explained: {error}.") from error
    if task.image.sha256 not in {None, decoded.sha256}:
        raise UserError(f"The image {task.image.path} has changed since the ETL saw it; run `vacpanel etl` again.")
    return decoded


def _reporter(turn: Turn, tasks: list[Task]) -> Callable[[float, Tensor | None], None]:
    """Pass progress on, with the maps of the tasks so far as previews, but not too many of them."""
    last = -PREVIEW_EVERY

    def report(fraction: float, maps: Tensor | None) -> None:
        nonlocal last
        if maps is None:
            turn.report(fraction)
        elif time.monotonic() - last >= PREVIEW_EVERY:
            last = time.monotonic()
            shown = normalise(maps).cpu().numpy()
            turn.report(fraction, {task.key: preview for task, preview in zip(tasks, shown, strict=True)})

    return report
