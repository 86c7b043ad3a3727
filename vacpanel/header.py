"""The header of the page: what is shown, light or dark, the sidebar in or out, back to the start."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import param
from panel.custom import JSComponent

from vacpanel.browser import script, style

if TYPE_CHECKING:
    from collections.abc import Callable

    from panel.models.esm import DataEvent


class PageHeader(JSComponent):
    """Title, facts and buttons; gives the page its colours, which its components take over."""

    facts = param.String(default="", doc="What is shown, in one line.")
    sidebar = param.Boolean(default=True, doc="Whether the sidebar is in sight.")

    _esm = script("page_header", PAGE_CSS=style("page"))
    _stylesheets: ClassVar[list[str]] = [style("page_header")]

    def on_reset(self, action: Callable[[], None]) -> None:
        """Call `action` when the user wants to start again."""

        def asked(event: DataEvent) -> None:
            if event.data == "reset":
                action()

        self.on_msg(asked)
