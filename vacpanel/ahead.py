"""Pictures of maps that somebody is about to ask for, painted while they move the pointer to the button.

What the store has is shown at once when a task is run, and what takes longest about it is to paint. As soon as images
are chosen, the task is known: its pictures can be painted then. Nothing is computed for it.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from vacpanel import serving
from warehouse import VacpanelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from etl.explain.requests import Target
    from warehouse import Warehouse

AFTER = 0.1
"""Seconds from a choice until painting begins: what the choice itself changes on the page comes first."""
MOST = 24
"""Maps of a task that are painted; of a longer one, what is seen first."""


class Ahead:
    """Paints the pictures of one session's next task.

    Parameters
    ----------
    warehouse
        Whose maps are shown.
    """

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._timer: threading.Timer | None = None

    def expect(
        self, maps: Sequence[tuple[str, int, str]], parameters: dict[str, dict[str, object]], target: Target
    ) -> None:
        """Paint what the store has of these maps, soon and in another thread, and forget what was expected before.

        Parameters
        ----------
        maps
            Model, image and method of each; none when nothing is expected.
        parameters, target
            As a task has them.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if maps:
            # The thread knows nothing of the session, which may end meanwhile.
            given = (self._warehouse, list(maps[:MOST]), parameters, target)
            self._timer = threading.Timer(AFTER, _paint, given)
            self._timer.daemon = True
            self._timer.start()


def _paint(
    warehouse: Warehouse,
    maps: list[tuple[str, int, str]],
    parameters: dict[str, dict[str, object]],
    target: Target,
) -> None:
    with suppress(VacpanelError, OSError):  # whoever runs the task is told
        service = serving.explanation_service(warehouse)
        media = serving.media_of(warehouse)
        from etl.explain.requests import Request

        asked = [Request(*one, target, parameters.get(one[-1], {})) for one in maps]
        for found in service.known(asked):
            if found is not None:
                media.paint(found.digest)
