"""The browser's address and the state, kept equal; Back and Forward undo and redo."""

from __future__ import annotations

from typing import TYPE_CHECKING

import param

from vacpanel import link
from vacpanel.browser import script
from vacpanel.browser.component import Component
from vacpanel.notebook import hold
from vacpanel.state import URL_KEYS

if TYPE_CHECKING:
    from panel.models.esm import DataEvent

    from vacpanel.dashboard import Dashboard


class Address(Component):
    """Writes every change of the state into the browser's history, and reads it again when that is gone through.

    Draws nothing, but has to be on the page. (Panel's own ``Location`` writes the history, but does not follow it.)
    """

    query = param.String(default="", doc="What the address says behind its path, with '?'.")

    answered = param.Integer(default=0, doc="How many moves through the history the query takes into account.")

    _esm = script("address")

    @classmethod
    def of(cls, dashboard: Dashboard) -> Address:
        """Return the address of a dashboard's state; from now on the two are kept equal."""
        address = cls(query=link.write(dashboard.state), width=0, height=0, margin=0)

        def write(*_: param.parameterized.Event) -> None:
            address.query = link.write(dashboard.state)

        def read(event: DataEvent) -> None:
            asked = event.data if isinstance(event.data, dict) else {}
            query, turn = asked.get("query"), asked.get("turn")
            if not isinstance(query, str) or not isinstance(turn, int):
                return
            with hold():
                if query != address.query:
                    dashboard.go(query)
                address.answered = turn

        dashboard.state.param.watch(write, list(URL_KEYS))
        address.on_msg(read)
        return address
