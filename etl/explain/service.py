"""Explanations on demand: from the store of maps if they are there, else computed on a worker thread."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import warehouse
from etl.classes import ClassTable
from etl.explain.held import HeldModels
from etl.explain.measures import MEASURES, measure
from etl.explain.postprocess import degenerate, normalise
from etl.explain.protocol import Context, canonical
from etl.explain.requests import Explanation, Request
from etl.explain.scheduler import Order, Scheduler
from etl.explain.task import NO_IMAGE, Task, canonical_name, file_task, look_up
from etl.images import open_image, read_image
from etl.seen import seen
from warehouse.errors import UserError, VacpanelError
from warehouse.folder import Folder
from warehouse.maps import MapStore, StoredMap

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType


Progress = Callable[[float, NDArray[np.float32] | None], None]

_log = logging.getLogger(__name__)


class ExplanationService:
    """Answers requests for explanation maps of a warehouse's models and images.

    Looks into the store of maps first; what is not there is computed on one worker thread, newest requests first, equal
    requests once, and stored for everybody. Any thread may ask. Use it in a ``with`` statement, or close it.

    Parameters
    ----------
    path
        The folder of the warehouse, or the ``.duckdb`` in it. It may still be filling.
    device
        ``"auto"`` (a GPU if there is one), ``"cpu"``, ``"cuda"`` or ``"cuda:0"``.
    memory
        Bytes of model parameters to keep ready.

    Raises
    ------
    UserError
        If there is no warehouse at the path, or no such device.
    """

    def __init__(self, path: str | Path, device: str = "auto", memory: int = 2 << 30) -> None:
        from etl.pipeline import choose_device

        self.device = choose_device(device)
        self._folder = Folder.at(path)
        self._store = MapStore(self._folder.explanations)
        self._models = HeldModels(self.device, memory)
        self._scheduler: Scheduler[Explanation] = Scheduler(f"explain on {self.device}")
        self._lock = threading.Lock()
        self._warehouse: warehouse.Warehouse | None = None
        self._described = False
        self.forwards = 0
        """Images that went forward through a model so far; what came from the store cost none."""

    def __enter__(self) -> ExplanationService:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def request(self, request: Request, progress: Progress | None = None) -> Future[Explanation]:
        """Ask for one explanation.

        Parameters
        ----------
        request
            What to explain.
        progress
            Called from the worker thread with the fraction done, in [0, 1], and the map so far, (h, w) in [0, 1], or
            None.

        Returns
        -------
        concurrent.futures.Future
            Of an :class:`Explanation`, done already if it was in the store. It fails with :class:`UserError`, one
            sentence for the user, whatever went wrong. ``cancel`` works until the result is there.
        """
        return self._ask(request, (self._scheduler.batch(), 0), progress)

    def request_many(self, requests: Sequence[Request], progress: Progress | None = None) -> list[Future[Explanation]]:
        """Ask for several explanations, to be computed in this order, before what was asked earlier."""
        batch = self._scheduler.batch()
        return [self._ask(request, (batch, i), progress) for i, request in enumerate(requests)]

    def request_file(self, file: Path, models: Sequence[str], **request: Any) -> list[Future[Explanation]]:
        """Ask for explanations of an image file that is not in the warehouse; they are not stored.

        Parameters
        ----------
        file
            The image.
        models
            Names of models of the warehouse.
        **request
            Method, target and parameters as in :class:`Request`; the target cannot be ``"true"``.

        Returns
        -------
        list of concurrent.futures.Future
            One a model, as from :meth:`request_many`; their ``image_id`` is -1.
        """
        batch = self._scheduler.batch()
        tasks = [file_task(self._current(), file, Request(model, NO_IMAGE, **request)) for model in models]
        return [
            self._scheduler.submit(task.digest, partial(self._compute, task), (batch, i))
            for i, task in enumerate(tasks)
        ]

    def view(self, model: str, image_id: int) -> NDArray[np.uint8]:
        """Show an image as a model sees it; runs in the caller's thread.

        Parameters
        ----------
        model, image_id
            As in :class:`Request`.

        Returns
        -------
        numpy.ndarray
            (H, W, 3) uint8 RGB; ``explanation.attention(H, W)`` lies exactly on it.

        Raises
        ------
        UserError
            If there is no such model or image, or the file cannot be read.
        """
        held = self._current()
        row = held.model_row(canonical_name(model))
        return np.asarray(seen(open_image(held.image(image_id).file), row.model, row.preprocess))

    def close(self) -> None:
        """Cancel all requests and release models, store and warehouse."""
        self._scheduler.close()
        self._store.close()
        with self._lock:
            if self._warehouse is not None:
                self._warehouse.close()

    def _ask(self, request: Request, order: Order, progress: Progress | None) -> Future[Explanation]:
        answered: Future[Explanation] = Future()
        try:
            task = look_up(self._current(), request)
            stored = self._store.get(task.digest)
        except VacpanelError as error:
            answered.set_exception(error)
            return answered
        if stored is not None:
            answered.set_result(Explanation.from_stored(stored, cached=True))
            return answered
        return self._scheduler.submit(
            task.digest,
            lambda context: self._compute(task, context),
            order,
            None if progress is None else _shown(progress),
        )

    def _current(self) -> warehouse.Warehouse:
        """Open the newest published state; the warehouse may not have had one when the service began."""
        with self._lock:
            if self._warehouse is None:
                self._warehouse = warehouse.open(self._folder.root)
            else:
                self._warehouse.refresh()
            return self._warehouse

    def _compute(self, task: Task, context: Context) -> Explanation:
        """Compute and store one explanation; runs on the worker thread."""
        context.step(0.0)
        stored = self._store.get(task.digest) if task.kept else None  # another process may have been faster
        if stored is not None:
            return Explanation.from_stored(stored, cached=True)
        decoded = read_image(task.image.file)
        if task.image.sha256 not in {None, decoded.sha256}:
            raise UserError(f"The image {task.image.path} has changed since the ETL saw it; run `vacpanel etl` again.")
        held = self._models.get(task.model, self._classes(), decoded.image)
        images = held.preprocess.batch(held.preprocess.pixels(decoded.image)[None].to(self.device))
        started, before = time.perf_counter(), held.prepared.forwards
        try:
            with held.prepared.session():
                targets = None if task.target is None else torch.tensor([task.target])
                found = task.method.attribute(
                    held.prepared, held.prepared.images(images), targets, task.parameters, context
                )
                confidence, predicted = torch.softmax(found.logits.float(), dim=1)[0].max(dim=0)
        finally:
            self.forwards += held.prepared.forwards - before
        size = (images.shape[2], images.shape[3])
        low = normalise(found.maps)[0].cpu().numpy()
        reason = degenerate(found.maps)[0]
        result = StoredMap(
            digest=task.digest,
            model=task.model.model,
            model_key=task.model.key,
            image_id=task.image.image_id,
            image_sha256=decoded.sha256,
            method=task.method.name,
            method_version=task.method.version,
            target_class_id=int(found.targets[0]),
            parameters=canonical(task.parameters),
            height=low.shape[0],
            width=low.shape[1],
            map=low,
            predicted_class_id=int(predicted),
            confidence=float(confidence),
            measures=measure(normalise(found.maps, size)[0].cpu().numpy()),
            flags=[*found.flags[0], *([] if reason is None else [reason])],
            seconds=time.perf_counter() - started,
            created_at=datetime.now(UTC).replace(tzinfo=None),
        )
        if task.kept:
            self._keep(result)
        return Explanation.from_stored(result, cached=False)

    def _keep(self, result: StoredMap) -> None:
        try:
            if not self._described:
                for entry in MEASURES.values():
                    self._store.describe_measure(entry.name, entry.unit, entry.description)
                self._described = True
            self._store.put(result)
        except VacpanelError:
            # A full disk must not take away the map that somebody waits for.
            _log.exception("an explanation could not be stored")

    def _classes(self) -> ClassTable:
        columns = self._current().classes()
        return ClassTable(tuple(columns["class_name"]), tuple(columns["root_class"]), tuple(columns["wnid"]))


def _shown(progress: Progress) -> Callable[[float, Tensor | None], None]:
    def report(fraction: float, maps: Tensor | None) -> None:
        progress(fraction, None if maps is None else normalise(maps)[0].cpu().numpy())

    return report
