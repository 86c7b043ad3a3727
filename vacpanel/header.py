"""The header of the page: what is shown, light or dark, the sidebar in or out, back to the start."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import param

from vacpanel.browser import script, style
from vacpanel.browser.component import Component
from vacpanel.words import count
from warehouse.progress import read_progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from panel.models.esm import DataEvent

    from warehouse import Warehouse


class PageHeader(Component):
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


def facts(warehouse: Warehouse) -> str:
    """Return what is shown, and how far a running ETL is, in one line."""
    summary = warehouse.summary()
    numbers = (summary.models, "model"), (summary.classes, "class"), (summary.images, "image")
    text = " · ".join(count(n, noun) for n, noun in numbers)
    progress = read_progress(warehouse.folder)
    if progress is None:
        return text
    if not progress.models_total:
        return f"{text} · ETL running: {progress.message or 'starting'}"
    left = f", about {progress.eta_seconds:.0f} s left" if progress.eta_seconds else ""
    return f"{text} · ETL running: {progress.models_done} of {progress.models_total} models{left}"
