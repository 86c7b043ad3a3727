"""What is on the screen while the views are still on their way: the models by accuracy, as plain HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vacpanel.browser import document, script, style
from vacpanel.words import count

if TYPE_CHECKING:
    from vacpanel.dashboard import Dashboard

MOST = 20  # models

TEMPLATE = document("poster")
"""Jinja template of the page, for Panel to extend; it wants a variable ``poster``."""


def poster(dashboard: Dashboard) -> dict[str, Any]:
    """Return what the poster of a dashboard says."""
    table = dashboard.warehouse.models()
    top1 = np.asarray(table["top1"], dtype=float)
    known = np.flatnonzero(np.isfinite(top1))
    best = known[np.argsort(-top1[known], kind="stable")][:MOST]
    rows = [(str(table["label"][i]), round(100 * top1[i], 1), f"{top1[i]:.1%}") for i in best]
    more = f" The best {MOST} of {count(len(known), 'model')}." if len(known) > MOST else ""
    return {
        "style": style("page", "poster"),
        "script": script("layout"),
        "facts": dashboard.facts(),
        "title": "Top-1 accuracy of the models" if rows else "No model has been run yet",
        "rows": rows,
        "says": f"Opening the views \N{HORIZONTAL ELLIPSIS}{more}",
    }
