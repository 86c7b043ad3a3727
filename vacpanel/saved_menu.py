"""The menu of saved views, and the link to what is shown now."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import param

from vacpanel import link, notices
from vacpanel.browser import script, style
from vacpanel.browser.component import Component
from vacpanel.notebook import hold
from warehouse import UserError
from warehouse.saved import delete_view, save_view, saved_views

if TYPE_CHECKING:
    from panel.models.esm import DataEvent

    from vacpanel.dashboard import Dashboard


class SavedMenu(Component):
    """Saved views to go to, to save and to delete by name, and a button that copies the link to this one."""

    names = param.List(default=[], item_type=str, doc="The names of the saved views.")

    _esm = script("copy", "saved_menu")

    _stylesheets: ClassVar[list[str]] = [style("saved_menu")]

    @classmethod
    def of(cls, dashboard: Dashboard) -> SavedMenu:
        """Return the menu of a dashboard's saved views."""
        menu = cls(margin=(6, 6), align="center")
        menu.look(dashboard)
        menu.on_msg(lambda event: menu.answer(dashboard, event))
        return menu

    def look(self, dashboard: Dashboard) -> None:
        """Show what is saved now, by other sessions, too."""
        self.names = list(saved_views(dashboard.warehouse.folder))

    def answer(self, dashboard: Dashboard, event: DataEvent) -> None:
        """Do what the page asks for."""
        folder = dashboard.warehouse.folder
        asked = event.data if isinstance(event.data, dict) else {}
        try:
            if isinstance(asked.get("save"), str):
                save_view(folder, asked["save"], link.write(dashboard.state))
            elif isinstance(asked.get("delete"), str):
                delete_view(folder, asked["delete"])
            elif (query := saved_views(folder).get(str(asked.get("go")))) is not None:
                with hold():
                    unknown = dashboard.go(query)
                notices.say(*unknown)
        except UserError as error:
            notices.say(str(error))
        self.look(dashboard)
