"""The page of the served dashboard; the only module, with the sidebar, that knows panel-material-ui."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import panel as pn
import panel_material_ui as pmui
from panel.io.resources import LOCAL_DIST
from panel.util import edit_readonly

from vacpanel.address import Address
from vacpanel.dashboard import LOOK_EVERY, Dashboard
from vacpanel.saved_menu import SavedMenu
from vacpanel.sidebar import TaskSidebar
from vacpanel.views.text import line

if TYPE_CHECKING:
    from pathlib import Path

THEME = {
    "palette": {"primary": {"main": "#0072B2"}, "secondary": {"main": "#E69F00"}},
    "typography": {"fontSize": 13},
    "shape": {"borderRadius": 6},
    "components": {"MuiToolbar": {"defaultProps": {"variant": "dense"}}},
}


def page(path: str | Path) -> pmui.Page:
    """Return the whole page for one session.

    Parameters
    ----------
    path
        The warehouse folder.
    """
    pn.extension("tabulator", notifications=True)
    _serve_styles()
    dashboard = Dashboard(path)
    notices = dashboard.read_link(pn.state.location.search or "") if pn.state.location else []
    facts = line(dashboard.facts(), styles={"color": "white"}, margin=(4, 10), align="center")
    reset = pmui.Button(
        label="Reset",
        variant="outlined",
        size="small",
        margin=(8, 6),
        sx={"color": "white", "borderColor": "white"},
    )

    reset.on_click(lambda _: dashboard.reset())

    def _look() -> None:
        dashboard.look()
        facts.object = escape(dashboard.facts())

    if pn.state.curdoc is not None:
        pn.state.add_periodic_callback(_look, LOOK_EVERY)
        pn.state.on_session_destroyed(lambda _: dashboard.controller.cancel())
        pn.state.onload(lambda: SavedMenu.say(*notices))
    whole = pmui.Page(
        title="vacpanel",
        header=[pn.Row(facts, pn.layout.HSpacer(), SavedMenu.of(dashboard), reset, sizing_mode="stretch_width")],
        sidebar=[TaskSidebar(dashboard.warehouse, dashboard.state)],
        sidebar_width=250,
        main=[Address.of(dashboard), dashboard],
        theme_config=THEME,
        busy_indicator=None,
    )
    # Panel walks all models below the page when a parameter of it changes, 100 ms each time, and the page follows the
    # server's busy state, which changes twice a callback. A plain value ends that; long work shows its own progress.
    with edit_readonly(whole):
        whole.busy = False
    return whole


def _serve_styles() -> None:
    """Take style sheets from this server, never from a CDN.

    Panel notes where they are when it answers the request for the page; a session that begins with a web socket,
    because another process (--num-procs) answered that request, would not know.
    """
    document = pn.state.curdoc
    if document is not None and document.session_context is not None:
        prefix = f"{pn.state.rel_path}/" if pn.state.rel_path else ""
        document.template_variables.setdefault("dist_url", f"{prefix}{LOCAL_DIST}")
