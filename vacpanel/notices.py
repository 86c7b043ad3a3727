"""Sentences that appear on the page for some seconds."""

from __future__ import annotations

from html import escape

import panel as pn

GROUND = "#8a4b00"  # Panel's own is too bright for white letters


def say(*sentences: str, seconds: float = 8.0) -> None:
    """Show sentences where the page shows them; nowhere without a page.

    They are text: names and links are not ours, and the page would take them for HTML.
    """
    if pn.state.notifications is None:
        return
    for sentence in sentences:
        pn.state.notifications.send(escape(sentence), duration=round(1000 * seconds), type="warning", background=GROUND)


def leave_with_session() -> None:
    """Let go of what shows the sentences when the session that is being drawn ends.

    Panel 1.9 means to (`panel.io.state._state._destroy_session`), but by then it has forgotten what belongs to the
    document (`panel.io.document._destroy_document`); its registry of views would keep both, 0.1 MiB, forever.
    """
    area = pn.state.notifications
    if area is not None:
        pn.state.on_session_destroyed(area._server_destroy)
