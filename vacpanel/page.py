"""The page of the served dashboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

import panel as pn
from panel.io.resources import LOCAL_DIST

from vacpanel import notices, serving
from vacpanel.address import Address
from vacpanel.dashboard import LOOK_EVERY, Dashboard
from vacpanel.header import PageHeader, facts
from vacpanel.poster import TEMPLATE, Poster
from vacpanel.ready import when_visited
from vacpanel.saved_menu import SavedMenu

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
    document = pn.state.curdoc
    if document is not None:
        document.title, document.template = "vacpanel", TEMPLATE
        document.template_variables["poster"] = Poster(serving.open_warehouse(path))
        if _only_begins():
            return pn.Column()
    dashboard = Dashboard(path)
    drawn = dashboard.warehouse.generation
    unknown = dashboard.read_link(pn.state.location.search or "") if pn.state.location else []
    header = PageHeader(facts=facts(dashboard.warehouse), sizing_mode="stretch_width", margin=0)
    header.on_reset(dashboard.reset)
    sidebar = pn.Column(
        dashboard.task,
        width=SIDEBAR,
        margin=0,
        sizing_mode="stretch_height",
        visible=header.param.sidebar,
    )

    saved = SavedMenu.of(dashboard)

    def _look() -> None:
        dashboard.look()
        header.facts = facts(dashboard.warehouse)

    def _visited(query: str) -> bool:
        before = header.facts, saved.names
        _look()
        saved.look(dashboard)
        if query:
            unknown[:] = dashboard.go(query)
        return bool(query) or before != (header.facts, saved.names)

    def _fresh() -> bool:
        dashboard.warehouse.refresh()
        return dashboard.warehouse.generation == drawn

    if document is not None:
        pn.state.add_periodic_callback(_look, LOOK_EVERY)
        pn.state.on_session_destroyed(lambda _: dashboard.controller.cancel())
        pn.state.onload(lambda: notices.say(*unknown))
        notices.leave_with_session()
    when_visited(_visited, _fresh)
    top = pn.Row(
        header,
        saved,
        Address.of(dashboard),
        sizing_mode="stretch_width",
        margin=0,
        styles={"background": BLUE, "position": "sticky", "top": "0", "z-index": "50"},
    )
    below = pn.Row(sidebar, dashboard.without_task(), sizing_mode="stretch_both", margin=0)
    return pn.Column(top, below, sizing_mode="stretch_both", margin=0)


def _only_begins() -> bool:
    """Return whether nobody will see this page: all visitors' pages begin with its HTML and go on with their own.

    Panel makes such a session before it serves (``--warm --reuse-sessions``), and it is of no server.
    """
    session = pn.state.curdoc.session_context if pn.state.curdoc else None
    return bool(pn.config.reuse_sessions and session is not None and session.server_context is None)


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
