"""The browser's address and the state, kept equal; Back and Forward undo and redo."""

from __future__ import annotations

from typing import TYPE_CHECKING

import param
from panel.custom import JSComponent
from panel.io import hold

from vacpanel import link
from vacpanel.state import URL_KEYS

if TYPE_CHECKING:
    from panel.models.esm import DataEvent

    from vacpanel.dashboard import Dashboard


class Address(JSComponent):
    """Writes every change of the state into the browser's history, and reads it again when that is gone through.

    Draws nothing, but has to be on the page. (Panel's own ``Location`` writes the history, but does not follow it.)
    """

    query = param.String(default="", doc="What the address says behind its path, with '?'.")

    _esm = """
    const TOGETHER = 400  // ms: what follows so closely belongs to the same step

    export function render({ model }) {
      let last = -Infinity
      function write() {
        if (!model.query || model.query === location.search) return
        const now = performance.now()
        // The first address was typed; what the page makes of it is no step of its own.
        const step = last > -Infinity && now - last > TOGETHER ? "pushState" : "replaceState"
        last = now
        history[step]({}, "", location.pathname + model.query + location.hash)
      }
      const gone = () => model.send_msg(location.search)
      window.addEventListener("popstate", gone)
      model.on("query", write)
      model.on("remove", () => window.removeEventListener("popstate", gone))
      write()
      return document.createElement("div")
    }
    """

    @classmethod
    def of(cls, dashboard: Dashboard) -> Address:
        """Return the address of a dashboard's state; from now on the two are kept equal."""
        address = cls(query=link.write(dashboard.state), width=0, height=0, margin=0)

        def write(*_: param.parameterized.Event) -> None:
            address.query = link.write(dashboard.state)

        def read(event: DataEvent) -> None:
            if isinstance(event.data, str) and event.data != address.query:
                with hold():
                    dashboard.go(event.data)

        dashboard.state.param.watch(write, list(URL_KEYS))
        address.on_msg(read)
        return address
