"""The page of the served dashboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

import panel as pn
from panel.io.resources import LOCAL_DIST

from vacpanel import notices
from vacpanel.address import Address
from vacpanel.dashboard import LOOK_EVERY, Dashboard
from vacpanel.header import PageHeader
from vacpanel.poster import TEMPLATE, poster
from vacpanel.saved_menu import SavedMenu
from vacpanel.sidebar import TaskSidebar

if TYPE_CHECKING:
    from pathlib import Path

SIDEBAR = 240  # px
BLUE = "#0072B2"


def page(path: str | Path) -> pn.Column:
    """Return the whole page for one session.

    Parameters
    ----------
    path
        The warehouse folder.
    """
    pn.extension(notifications=True)
    _serve_styles()
    dashboard = Dashboard(path)
    unknown = dashboard.read_link(pn.state.location.search or "") if pn.state.location else []
    header = PageHeader(facts=dashboard.facts(), sizing_mode="stretch_width", margin=0)
    header.on_reset(dashboard.reset)
    sidebar = pn.Column(
        TaskSidebar(dashboard.warehouse, dashboard.state),
        width=SIDEBAR,
        margin=0,
        sizing_mode="stretch_height",
        visible=header.param.sidebar,
    )

    document = pn.state.curdoc

    def _look() -> None:
        dashboard.look()
        facts = dashboard.facts()
        if facts != header.facts:
            header.facts = facts
            # For the next visitor, whose page may be begun with this session's (see `vacpanel.serving.serve_app`).
            if document is not None:
                document.template_variables["poster"] = poster(dashboard)

    if document is not None:
        document.title, document.template = "vacpanel", TEMPLATE
        document.template_variables["poster"] = poster(dashboard)
        pn.state.add_periodic_callback(_look, LOOK_EVERY)
        pn.state.on_session_destroyed(lambda _: dashboard.controller.cancel())
        pn.state.onload(lambda: notices.say(*unknown))
    top = pn.Row(
        header,
        SavedMenu.of(dashboard),
        Address.of(dashboard),
        sizing_mode="stretch_width",
        margin=0,
        styles={"background": BLUE, "position": "sticky", "top": "0", "z-index": "50"},
    )
    below = pn.Row(sidebar, dashboard, sizing_mode="stretch_both", margin=0)
    return pn.Column(top, below, sizing_mode="stretch_both", margin=0)


def _serve_styles() -> None:
    """Take style sheets from this server, never from a CDN, and the icon from where it is below a prefix too.

    Panel notes where they are when it answers the request for the page; a session that begins with a web socket,
    because another process (--num-procs) answered that request, would not know.
    """
    document = pn.state.curdoc
    if document is not None and document.session_context is not None:
        prefix = f"{pn.state.rel_path}/" if pn.state.rel_path else ""
        document.template_variables.setdefault("dist_url", f"{prefix}{LOCAL_DIST}")
        document.template_variables.setdefault("app_favicon", f"{prefix}{LOCAL_DIST}images/favicon.ico")
