"""A legend of coloured chips; a click chooses."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import param
from panel.custom import JSComponent
from panel.io import hold

if TYPE_CHECKING:
    from collections.abc import Callable

    from panel.models.esm import DataEvent


class Chips(JSComponent):
    """Names with their colours in one wrapping row; a click (or Enter) reports the name to `on_click`.

    Clicks travel as messages, one by one: a changed parameter would merge two quick clicks into one.
    """

    items = param.Dict(default={}, doc="Name to colour (CSS).")
    chosen = param.String(default="", doc="The name that is emphasised.")
    lines = param.Integer(default=0, doc="Lines of chips in sight, more are scrolled; 0 for all.")

    _esm = """
    export function render({ model }) {
      const row = document.createElement("div")
      row.className = "chips"
      if (model.lines) row.style.maxHeight = `${20 * model.lines + 2}px`
      function draw() {
        row.replaceChildren(...Object.entries(model.items).map(([name, color]) => {
          const chip = document.createElement("button")
          chip.type = "button"
          chip.dataset.name = name
          const dot = document.createElement("span")
          dot.style.background = color
          chip.append(dot, document.createTextNode(name))
          chip.addEventListener("click", () => model.send_msg(name))
          return chip
        }))
        mark()
      }
      function mark() {
        for (const chip of row.children) chip.setAttribute("aria-pressed", String(chip.dataset.name === model.chosen))
      }
      model.on("items", draw)
      model.on("chosen", mark)
      draw()
      return row
    }
    """

    def on_click(self, action: Callable[[str], None]) -> None:
        """Call `action` with the name of every chip that is clicked."""

        def clicked(event: DataEvent) -> None:
            if event.data in self.items:
                with hold():
                    action(event.data)

        self.on_msg(clicked)

    _stylesheets: ClassVar[list[str]] = [
        """
    .chips { display: flex; flex-wrap: wrap; gap: 2px 3px; overflow-y: auto; }
    button { display: inline-flex; align-items: center; gap: 4px; padding: 1px 6px; border: 1px solid transparent;
             border-radius: 9px; background: none; color: inherit; cursor: pointer;
             font: 11.5px var(--bokeh-base-font, system-ui, sans-serif); }
    button span { width: 9px; height: 9px; border-radius: 50%; flex: none; }
    button:hover { border-color: rgba(128, 128, 128, .5); }
    button:focus-visible { outline: 2px solid #0072B2; }
    button[aria-pressed="true"] { border-color: currentColor; font-weight: 600; }
    """
    ]
