"""What a notebook needs to show views: sent once, from the installed package, so that it works without a network."""

from __future__ import annotations

import sys

import panel as pn


def prepare() -> None:
    """Load Panel into the notebook that this runs in, unless it is loaded already; elsewhere do nothing.

    A view calls it when it is made, so that it can be the last line of a cell without any line before.
    """
    if not pn.extension._loaded and _in_notebook():
        pn.extension(inline=True)


def _in_notebook() -> bool:
    """Tell whether this is the kernel of a notebook; a terminal's IPython is none."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None
