"""Answers from the store of maps, and what is computed goes into it."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from etl.explain.measures import MEASURES
from etl.explain.requests import Explanation
from warehouse.errors import VacpanelError
from warehouse.maps import MapStore, StoredMap

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from etl.explain.task import Task

_log = logging.getLogger(__name__)


class KeptMaps:
    """The store of maps of a warehouse, as the explanation service uses it. Any thread may ask.

    Parameters
    ----------
    file
        See :class:`warehouse.maps.MapStore`.
    """

    def __init__(self, file: Path) -> None:
        self._store = MapStore(file)
        self._described = False

    def find(self, task: Task) -> Explanation | None:
        """Answer from the store; None if it has no such map, or the task's result is not to be kept."""
        stored = self._store.get(task.digest) if task.kept else None
        return None if stored is None else _answer(task, stored, cached=True)

    def answer(
        self, tasks: Sequence[Task], compute: Callable[[list[Task]], Sequence[StoredMap | BaseException]]
    ) -> list[Explanation | BaseException]:
        """Answer from the store, else compute and store.

        Parameters
        ----------
        tasks
            What is asked.
        compute
            Called once, with those tasks that the store has no map for, unless there are none; gives a map or an
            exception for each.

        Returns
        -------
        list of Explanation or BaseException
            One for each task.
        """
        # Looked up again: another process may have been faster since the request was made.
        answers: list[Explanation | BaseException | None] = [self.find(task) for task in tasks]
        missing = [i for i, answer in enumerate(answers) if answer is None]
        found = compute([tasks[i] for i in missing]) if missing else []
        for i, result in zip(missing, found, strict=True):
            if isinstance(result, StoredMap):
                self._keep(tasks[i], result)
                answers[i] = _answer(tasks[i], result, cached=False)
            else:
                answers[i] = result
        return [answer for answer in answers if answer is not None]

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def _keep(self, task: Task, result: StoredMap) -> None:
        if not task.kept:
            return
        try:
            if not self._described:
                for entry in MEASURES.values():
                    self._store.describe_measure(entry.name, entry.unit, entry.description)
                self._described = True
            self._store.put(result)
        except VacpanelError:
            # A full disk must not take away the map that somebody waits for.
            _log.exception("an explanation could not be stored")


def _answer(task: Task, stored: StoredMap, *, cached: bool) -> Explanation:
    # The map may have been made for another image with the same pixels.
    return replace(Explanation.from_stored(stored, cached=cached), image_id=task.image.image_id)
