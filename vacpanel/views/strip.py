"""A row of thumbnails to choose from."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import param

from vacpanel.browser import script, style
from vacpanel.browser.component import Component

if TYPE_CHECKING:
    from collections.abc import Callable

    from panel.models.esm import DataEvent


class ImageStrip(Component):
    """Thumbnails in a row; a click (or Enter) chooses one, with Ctrl one more, with Shift all up to there.

    A click on the only chosen one lets it go. Texts are set as text, never as HTML: class and file names are not ours.
    """

    items = param.List(default=[], doc="Dictionaries with id (int), src (URL) and title (str).")
    selected = param.List(default=[], item_type=int, doc="The chosen ids.")
    marks = param.Dict(default={}, doc="Id (as text) to whether the pinned model is right; unmarked where missing.")
    more = param.Boolean(default=False, doc="Whether there are more than the items.")
    side = param.Integer(default=64, doc="Side of a thumbnail in px.")

    _esm = script("image_strip")
    _stylesheets: ClassVar[list[str]] = [style("image_strip")]

    def on_more(self, action: Callable[[], None]) -> None:
        """Call `action` when more than the items are wanted."""

        def asked(event: DataEvent) -> None:
            if event.data == "more":
                action()

        self.on_msg(asked)
