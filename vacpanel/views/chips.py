"""A legend of coloured chips; a click chooses."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import param

from vacpanel.browser import script, style
from vacpanel.browser.component import Component
from vacpanel.notebook import hold

if TYPE_CHECKING:
    from collections.abc import Callable

    from panel.models.esm import DataEvent


class Chips(Component):
    """Names with their colours in one wrapping row; a click (or Enter) reports the name to `on_click`.

    Clicks travel as messages, one by one: a changed parameter would merge two quick clicks into one.
    """

    items = param.Dict(default={}, doc="Name to colour (CSS).")
    chosen = param.String(default="", doc="The name that is emphasised.")
    lines = param.Integer(default=0, doc="Lines of chips in sight, more are scrolled; 0 for all.")

    _esm = script("chips")

    def on_click(self, action: Callable[[str], None]) -> None:
        """Call `action` with the name of every chip that is clicked."""

        def clicked(event: DataEvent) -> None:
            if event.data in self.items:
                with hold():
                    action(event.data)

        self.on_msg(clicked)

    _stylesheets: ClassVar[list[str]] = [style("chips")]
