"""The head of a view: what is shown, what that means, and a menu of what can be done with it."""

from __future__ import annotations

from typing import Any, ClassVar

import param

from vacpanel.browser import script, style
from vacpanel.browser.component import Component


class ViewHead(Component):
    """One line over a view, with a tip, a menu and, where a view has an action, a button for it.

    The menu enlarges the view and saves what it shows: pictures of plots are made by the page, other pictures and data
    by the server when they are asked for. Texts are set as text, never as HTML.
    """

    heading = param.String(default="", doc="What is shown now.")
    help = param.String(default="", doc="What that means.")
    action = param.String(default="", doc="Label of the view's own button; none where empty.")

    draws = param.Boolean(default=False, doc="Whether the server draws the view where the page has no plot of it.")

    _esm = script("plots", "copy", "head")
    _stylesheets: ClassVar[list[str]] = [style("head")]

    def __init__(self, **params: Any) -> None:
        super().__init__(**({"sizing_mode": "stretch_width", "margin": 0} | params))

    def give(self, **answer: str) -> None:
        """Answer the page: ``sql`` to copy, a file to save (``name``, ``type``, ``data`` in base64), or ``failed``."""
        self._send_msg(answer)
