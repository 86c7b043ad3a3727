"""What is on the screen while the views are still on their way: the models by accuracy, as plain HTML."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

import numpy as np

from vacpanel import header
from vacpanel.browser import document, script, style
from vacpanel.words import count

if TYPE_CHECKING:
    from warehouse import Warehouse

MOST = 20  # models
SHIMS = re.compile(r'<script\b[^>]*\bsrc="([^"]*/es-module-shims[^"]*)"[^>]*></script>')

TEMPLATE = document("poster")
"""Jinja template of the page, for Panel to extend; it wants a `Poster` as ``poster``."""


class Poster:
    """What the template asks for, looked up when it does: one poster serves all visitors, now and later."""

    style = style("page", "poster")
    layout = script("views", "layout")

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    @staticmethod
    def scripts(tags: str) -> str:
        """Return Bokeh's and Panel's script tags with es-module-shims for those only who need it.

        Parameters
        ----------
        tags
            HTML, as Bokeh gives it to the template.
        """
        found = SHIMS.search(tags)
        if found is None:
            return tags
        return tags.replace(found[0], f"<script>\n{script('modules', SHIMS=html.unescape(found[1]))}\n</script>")

    @property
    def facts(self) -> str:
        """What the warehouse holds, and how far a running ETL is."""
        self._warehouse.refresh()
        return header.facts(self._warehouse)

    @property
    def title(self) -> str:
        """What the rows say, or why there are none."""
        return "Top-1 accuracy of the models" if self.rows else "No model has been run yet"

    @property
    def rows(self) -> list[tuple[str, float, str]]:
        """Label, accuracy in percent and as text of the best models, best first."""
        table = self._warehouse.models()
        top1 = np.asarray(table["top1"], dtype=float)
        known = np.flatnonzero(np.isfinite(top1))
        best = known[np.argsort(-top1[known], kind="stable")][:MOST]
        return [(str(table["label"][i]), round(100 * top1[i], 1), f"{top1[i]:.1%}") for i in best]

    @property
    def says(self) -> str:
        """What is going on."""
        known = int(np.isfinite(np.asarray(self._warehouse.models()["top1"], dtype=float)).sum())
        more = f" The best {MOST} of {count(known, 'model')}." if known > MOST else ""
        return f"Opening the views \N{HORIZONTAL ELLIPSIS}{more}"
