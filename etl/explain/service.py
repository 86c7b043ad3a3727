"""Explanations on demand: from the store of maps if they are there, else from an engine that computes them."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from etl.explain import load_method
from etl.explain.catalogue import Catalogue
from etl.explain.computer import MEMORY
from etl.explain.engine import Engine, LocalEngine, Progress
from etl.explain.kept import KeptMaps
from etl.explain.requests import Explanation, Request
from etl.explain.task import NO_IMAGE, Task, canonical_name, file_task, look_up
from etl.images import open_image
from etl.plugins import METHODS, plugins
from etl.seen import seen
from warehouse.errors import VacpanelError
from warehouse.folder import Folder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

__all__ = ["Explanation", "ExplanationService", "Request", "connect"]

LOCAL, SHARED = "local", "shared"


def connect(path: str | Path, where: str = LOCAL) -> ExplanationService:
    """Open the explanation service of a warehouse.

    Parameters
    ----------
    path
        The folder of the warehouse, or the ``.duckdb`` in it.
    where
        Where maps are computed: ``"local"`` in this process; ``"shared"`` in one process for all that ask for it on
        this machine, which is started when it is first needed; or the address of a Dask scheduler, such as
        ``"tcp://gpu-server:8786"``, for its workers.

    Raises
    ------
    UserError
        If there is no warehouse at the path, or nobody answers at the address.
    """
    if where == LOCAL:
        return ExplanationService(path)
    if where == SHARED:
        from etl.explain.shared import SharedEngine

        return ExplanationService(path, engine=lambda folder, _kept: SharedEngine(folder))
    from etl.explain.cluster import ClusterEngine

    return ExplanationService(path, engine=lambda _folder, kept: ClusterEngine(where, kept))


class ExplanationService:
    """Answers requests for explanation maps of a warehouse's models and images.

    Looks into the store of maps first; what is not there is computed by an engine, fairly between clients, newest
    requests first, equal requests once, and stored for everybody. Any thread may ask. Use it in a ``with`` statement,
    or close it.

    Parameters
    ----------
    path
        The folder of the warehouse, or the ``.duckdb`` in it. It may still be filling.
    device, memory, batch
        See :class:`etl.explain.engine.LocalEngine`.
    engine
        Makes another engine from the folder and the store of maps; None computes in this process.

    Raises
    ------
    UserError
        If there is no warehouse at the path, or no such device.
    """

    def __init__(
        self,
        path: str | Path,
        device: str = "auto",
        memory: int = MEMORY,
        batch: int | None = None,
        engine: Callable[[Folder, KeptMaps], Engine] | None = None,
    ) -> None:
        folder = Folder.at(path)
        self._kept = KeptMaps(folder.explanations)
        self._catalogue = Catalogue(folder)
        self._engine = LocalEngine(self._kept, device, memory, batch) if engine is None else engine(folder, self._kept)
        # The first request need not wait for what all requests ask.
        self._getting_ready = threading.Thread(target=self._get_ready, name="explain get ready", daemon=True)
        self._getting_ready.start()

    def __enter__(self) -> ExplanationService:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def forwards(self) -> int:
        """Images that went forward through the engine's models so far; what came from the store cost none."""
        return self._engine.forwards

    def request(
        self,
        request: Request,
        progress: Callable[[float, NDArray[np.float32] | None], None] | None = None,
        client: str = "",
        priority: int = 0,
    ) -> Future[Explanation]:
        """Ask for one explanation.

        Parameters
        ----------
        request
            What to explain.
        progress
            Called from another thread with the fraction done, in [0, 1], and the map so far, (h, w) in [0, 1], or None.
        client
            Who asks, such as a session of the dashboard: computing is shared fairly between clients.
        priority
            0 for what can be seen, 1 for what may be needed later.

        Returns
        -------
        concurrent.futures.Future
            Of an :class:`Explanation`, done already if it was in the store. It fails with :class:`UserError`, one
            sentence for the user, whatever went wrong. ``cancel`` works until the result is there.
        """
        listener = None if progress is None else lambda _position, fraction, preview: progress(fraction, preview)
        return self.request_many([request], listener, client, priority)[0]

    def request_many(
        self, requests: Sequence[Request], progress: Progress | None = None, client: str = "", priority: int = 0
    ) -> list[Future[Explanation]]:
        """Ask for several explanations, to be computed in this order, before what the client asked earlier.

        Parameters
        ----------
        requests
            What to explain.
        progress
            As for :meth:`request`, with the position of the request in ``requests`` first.
        client, priority
            As for :meth:`request`.

        Returns
        -------
        list of concurrent.futures.Future
            One a request, as from :meth:`request`.
        """
        answers: list[Future[Explanation]] = [Future() for _ in requests]
        missing: dict[int, Task] = {}
        try:
            known = self._catalogue.current()
        except VacpanelError as error:
            for answer in answers:
                answer.set_exception(error)
            return answers
        for i, request in enumerate(requests):
            try:
                task = look_up(known, request)
                found = self._kept.find(task)
            except VacpanelError as error:
                answers[i].set_exception(error)
            else:
                if found is None:
                    missing[i] = task
                else:
                    answers[i].set_result(found)
        return self._compute(answers, missing, progress, client, priority)

    def known(self, requests: Sequence[Request]) -> list[Explanation | None]:
        """Look for explanations in the store, and compute nothing.

        Parameters
        ----------
        requests
            What is looked for.

        Returns
        -------
        list of Explanation or None
            One a request; None where the store has no map, or the request cannot be answered.
        """
        found: list[Explanation | None] = []
        known = self._catalogue.current()
        for request in requests:
            try:
                found.append(self._kept.find(look_up(known, request)))
            except VacpanelError:
                found.append(None)
        return found

    def request_file(
        self,
        file: Path,
        models: Sequence[str],
        progress: Progress | None = None,
        client: str = "",
        priority: int = 0,
        **request: Any,
    ) -> list[Future[Explanation]]:
        """Ask for explanations of an image file that is not in the warehouse; they are not stored.

        Parameters
        ----------
        file
            The image.
        models
            Names of models of the warehouse.
        progress, client, priority
            As for :meth:`request_many`.
        **request
            Method, target and parameters as in :class:`Request`; the target cannot be ``"true"``.

        Returns
        -------
        list of concurrent.futures.Future
            One a model, as from :meth:`request_many`; their ``image_id`` is -1.

        Raises
        ------
        UserError
            If the file cannot be read, or the request cannot be answered.
        """
        known = self._catalogue.current()
        tasks = [file_task(known, file, Request(model, NO_IMAGE, **request)) for model in models]
        return self._compute([Future() for _ in tasks], dict(enumerate(tasks)), progress, client, priority)

    def promote(self, futures: Sequence[Future[Explanation]]) -> None:
        """Compute what was asked for with these futures first, in this order: it has become visible."""
        self._engine.promote(futures)

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
        known = self._catalogue.current()
        row = known.model(canonical_name(model))
        return np.asarray(seen(open_image(known.image(image_id).file), row.model, row.preprocess))

    def close(self) -> None:
        """Cancel all requests and release engine, store and warehouse."""
        self._getting_ready.join()
        self._engine.close()
        self._kept.close()
        self._catalogue.close()

    def _get_ready(self) -> None:
        for name in plugins(METHODS):
            with suppress(VacpanelError):  # a broken plug-in is the business of who asks for it
                load_method(name)
        with suppress(VacpanelError):  # nothing may be published yet
            self._catalogue.current().get_ready()

    def _compute(
        self,
        answers: list[Future[Explanation]],
        missing: dict[int, Task],
        progress: Progress | None,
        client: str,
        priority: int,
    ) -> list[Future[Explanation]]:
        """Replace the answers that are missing, by position, by those of the engine."""
        positions = list(missing)
        listener = None if progress is None else lambda i, fraction, preview: progress(positions[i], fraction, preview)
        if missing:
            computed = self._engine.submit(list(missing.values()), client, priority, listener)
            for i, future in zip(positions, computed, strict=True):
                answers[i] = future
        return answers
