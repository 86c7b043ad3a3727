"""Text that is text: names come from folders and checkpoints, so they are escaped wherever HTML is made."""

from __future__ import annotations

import html
from typing import Any

import panel as pn

FONT = "font-family: var(--bokeh-base-font, system-ui, sans-serif);"
EMPTY_CSS = f":host {{ color: #8a8f98; {FONT} font-size: 13px; text-align: center; }}"
# The browser's own arrow is visible on light and dark grounds.
SELECT_CSS = """
label { font-size: 11.5px; opacity: .75; }
select.bk-input:not([multiple]) { appearance: auto; background: none; height: 26px; padding: 0 4px; font-size: 12px;
  color: inherit; border-radius: 5px; }
select option { background: var(--vac-ground, var(--panel-background-color, Canvas));
  color: var(--vac-ink, var(--panel-on-background-color, CanvasText)); }
"""
HIDDEN_LABEL_CSS = f"{SELECT_CSS} label {{ position: absolute; clip-path: inset(50%); white-space: nowrap; }}"
"""Of a chooser whose options say enough for those who see them; its label is for those who do not."""
LINE_CSS = f":host {{ {FONT} font-size: 12.5px; line-height: 1.35; }}"


class PlainText(pn.pane.HTML):
    """A pane whose ``object`` is text, whatever it is set to; the page would take that of its base for HTML."""

    @classmethod
    def applies(cls, obj: Any) -> bool | None:
        """Tell Panel never to choose this pane by itself."""
        return None if isinstance(obj, str) else False

    def _transform_object(self, obj: Any) -> dict[str, Any]:
        return dict(super()._transform_object(html.escape("" if obj is None else str(obj))))


def line(text: Any = "", css: str = LINE_CSS, **params: Any) -> PlainText:
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
    return PlainText(text, stylesheets=[css], **params)


def card(*lines: str, src: str = "") -> str:
    """Return HTML of a small picture over lines of text.

    Parameters
    ----------
    *lines
        Plain texts.
    src
        Address of the picture, our own; none where empty.
    """
    texts = "".join(f"<div>{html.escape(text)}</div>" for text in lines)
    picture = (
        f'<img src="{html.escape(src)}" alt="" style="display:block;height:84px;border-radius:3px">' if src else ""
    )
    style = (
        "font: 11px var(--bokeh-base-font, system-ui, sans-serif); padding: 4px; border-radius: 5px; max-width: 170px;"
        "color: #fff; background: rgba(20, 22, 28, .88); pointer-events: none"
    )
    return f'<div style="{style}">{picture}{texts}</div>' if lines or src else ""


def empty(message: str) -> PlainText:
    """Return a quiet sentence for a view that has nothing to show yet."""
    return line(message, EMPTY_CSS, sizing_mode="stretch_width", margin=(24, 20))
