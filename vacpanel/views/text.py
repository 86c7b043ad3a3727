"""Text that is text: names come from folders and checkpoints, so they are escaped wherever HTML is made."""

from __future__ import annotations

import html
from typing import Any

import panel as pn

FONT = "font-family: var(--bokeh-base-font, system-ui, sans-serif);"
EMPTY_CSS = f":host {{ color: #8a8f98; {FONT} font-size: 13px; text-align: center; }}"
HEAD_CSS = f"""
:host {{ {FONT} font-size: 13px; font-weight: 600; line-height: 1.25; }}
.bk-clearfix {{ white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }}
"""
LINE_CSS = f":host {{ {FONT} font-size: 12.5px; line-height: 1.35; }}"


def line(text: Any, css: str = LINE_CSS, **params: Any) -> pn.pane.HTML:
    """Return a pane that shows plain text.

    Parameters
    ----------
    text
        A string, or a parameter that holds one and is followed.
    css
        Style sheet of the pane.
    **params
        Of the pane.
    """
    shown = html.escape(text) if isinstance(text, str) else text.rx().rx.pipe(html.escape)
    return pn.pane.HTML(shown, stylesheets=[css], **params)


def empty(message: str) -> pn.pane.HTML:
    """Return a quiet sentence for a view that has nothing to show yet."""
    return line(message, EMPTY_CSS, sizing_mode="stretch_width", margin=(40, 20))
