"""Maps that somebody is about to ask for: looked up as soon as the task is known, so that the page has their pictures.

What the store has is shown when a task is run, and what takes longest then is to paint and to fetch pictures. Once
images are picked it is known which: the page can have them before the pointer is on the button. Nothing is computed.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import panel as pn

from vacpanel import serving
from vacpanel.facts import known_facts
from warehouse import VacpanelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from etl.explain.requests import Explanation, Target
    from vacpanel.controller import Task
    from warehouse import Warehouse

AFTER = 0.1
"""Seconds from a choice until it is followed: what the choice itself changes on the page comes first."""
MOST = 16
"""Maps of a task that are looked up; of a longer one, those that are seen first."""


class Ahead:
    """Looks for the maps of one session's next task.

    Parameters
    ----------
    warehouse
        Whose maps are shown.
    tell
        Called with the maps that the store has, in the order of the task, if no other task is expected by then.
    """

    def __init__(self, warehouse: Warehouse, tell: Callable[[list[Explanation]], None]) -> None:
        self._warehouse = warehouse
        self._tell = tell
        self._turn = 0

    def expect(self, task: Task, parameters: dict[str, dict[str, object]], target: Target) -> None:
        """Look for the maps of this task soon, and forget what was expected before.

        Parameters
        ----------
        task
            What Run would do; one without maps when nothing is expected.
        parameters, target
            As it would be run.
        """
        self._turn += 1
        turn = self._turn

        async def look() -> None:
            await asyncio.sleep(AFTER)
            if turn == self._turn:
                found = await asyncio.to_thread(_look, self._warehouse, task, parameters, target)
                if found:
                    # With the document's lock: without, nothing may be changed on a page that is still being opened.
                    pn.state.execute(partial(self._told, turn, found), schedule=True)

        if task.maps:
            pn.state.execute(look)

    def _told(self, turn: int, found: list[Explanation]) -> None:
        if turn == self._turn:
            self._tell(found)


def _look(
    warehouse: Warehouse, task: Task, parameters: dict[str, dict[str, object]], target: Target
) -> list[Explanation]:
    """Return what the store has, everything else at hand that its rows will say.

    Waits for the explanation engine while it is loaded, but is no reason to load it: a link may name images, too.
    """
    if not serving.explains(warehouse):
        return []
    media = serving.media_of(warehouse)
    try:
        facts = known_facts(warehouse, task.models, task.images)
        service = serving.explanation_service(warehouse)
        from etl.explain.requests import Request

        asked = [Request(*one, target, parameters.get(one[-1], {})) for one in task.maps[:MOST]]
        found = [map_ for map_ in service.known(asked) if map_ is not None]
        for map_ in found:
            media.areas(map_.image_id, facts[map_.model, map_.image_id]["key"], map_.map)
    except (VacpanelError, OSError):  # whoever runs the task is told
        return []
    return found
