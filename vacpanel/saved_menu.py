"""The menu of saved views, and the link to what is shown now."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import panel as pn
import param
from panel.custom import JSComponent
from panel.io import hold

from vacpanel import link
from warehouse import UserError
from warehouse.saved import delete_view, save_view, saved_views

if TYPE_CHECKING:
    from panel.models.esm import DataEvent

    from vacpanel.dashboard import Dashboard


class SavedMenu(JSComponent):
    """Saved views to go to, to save and to delete by name, and a button that copies the link to this one."""

    names = param.List(default=[], item_type=str, doc="The names of the saved views.")

    _esm = """
    export function render({ model }) {
      const bar = document.createElement("div")
      bar.className = "saved"
      bar.innerHTML = `<details><summary>Saved views</summary><div class="menu"><ul></ul>
        <form><input type="text" maxlength="60" placeholder="name of this view" aria-label="Name of this view">
        <button type="submit">save</button></form></div></details><button type="button" class="copy">Copy link</button>`
      const [details, copy] = bar.children
      const list = bar.querySelector("ul"), form = bar.querySelector("form"), name = bar.querySelector("input")
      copy.addEventListener("click", () => {
        const done = () => { copy.textContent = "Copied"; setTimeout(() => { copy.textContent = "Copy link" }, 1200) }
        const by_hand = () => { const area = document.createElement("textarea"); area.value = location.href
          document.body.append(area); area.select(); document.execCommand("copy"); area.remove(); done() }
        // The clipboard is there on https and localhost only.
        if (navigator.clipboard) navigator.clipboard.writeText(location.href).then(done, by_hand)
        else by_hand()
      })
      form.addEventListener("submit", (event) => {
        event.preventDefault()
        if (name.value.trim()) model.send_msg({ save: name.value })
        name.value = ""
      })
      details.addEventListener("toggle", () => { if (details.open) model.send_msg({ look: true }) })
      details.addEventListener("keydown", (event) => {
        if (event.key === "Escape") { details.open = false; details.firstElementChild.focus() }
      })
      function draw() {
        list.replaceChildren(...model.names.map((text) => {
          const row = document.createElement("li")
          const go = document.createElement("button")
          go.type = "button"
          go.textContent = text
          go.addEventListener("click", () => { details.open = false; model.send_msg({ go: text }) })
          const gone = document.createElement("button")
          gone.type = "button"
          gone.textContent = "\u00d7"
          gone.setAttribute("aria-label", `Delete the saved view ${text}`)
          gone.addEventListener("click", () => model.send_msg({ delete: text }))
          row.append(go, gone)
          return row
        }))
        if (!model.names.length) list.textContent = "None yet: give this one a name."
      }
      model.on("names", draw)
      draw()
      return bar
    }
    """

    _stylesheets: ClassVar[list[str]] = [
        """
    :host { position: relative; z-index: 6; overflow: visible; }
    .saved { display: flex; gap: 6px; align-items: center; font: 13px var(--bokeh-base-font, system-ui, sans-serif); }
    .saved > button, summary { font: inherit; color: white; background: none; cursor: pointer; padding: 4px 9px;
      border: 1px solid rgba(255, 255, 255, .7); border-radius: 6px; white-space: nowrap; list-style: none; }
    details { position: relative; }
    .menu { position: absolute; right: 0; top: 100%; margin-top: 4px; padding: 8px; width: 260px; border-radius: 6px;
      background: var(--panel-background-color, Canvas); color: var(--panel-on-background-color, CanvasText);
      border: 1px solid rgba(128, 128, 128, .5); box-shadow: 0 4px 14px rgba(0, 0, 0, .3); }
    ul { list-style: none; margin: 0 0 6px; padding: 0; max-height: 260px; overflow-y: auto; }
    li { display: flex; }
    li button:first-child { flex: 1; text-align: left; overflow: hidden; text-overflow: ellipsis; }
    li button { font: inherit; color: inherit; background: none; border: 0; padding: 3px 5px; cursor: pointer; }
    li button:hover { background: rgba(0, 114, 178, .2); }
    form { display: flex; gap: 4px; }
    form input { flex: 1; min-width: 0; font: inherit; color: inherit; background: none; padding: 3px 6px;
      border: 1px solid rgba(128, 128, 128, .5); border-radius: 4px; }
    form button { font: inherit; color: white; background: #0072B2; border: 0; border-radius: 4px; padding: 3px 10px; }
    :is(button, summary, input):focus-visible { outline: 2px solid #56B4E9; }
    """
    ]

    @classmethod
    def of(cls, dashboard: Dashboard) -> SavedMenu:
        """Return the menu of a dashboard's saved views."""
        menu = cls(names=list(saved_views(dashboard.warehouse.folder)), margin=(6, 6), align="center")
        menu.on_msg(lambda event: menu.answer(dashboard, event))
        return menu

    def answer(self, dashboard: Dashboard, event: DataEvent) -> None:
        """Do what the page asks for."""
        folder = dashboard.warehouse.folder
        asked = event.data if isinstance(event.data, dict) else {}
        try:
            if isinstance(asked.get("save"), str):
                save_view(folder, asked["save"], link.write(dashboard.state))
            elif isinstance(asked.get("delete"), str):
                delete_view(folder, asked["delete"])
            elif (query := saved_views(folder).get(asked.get("go"))) is not None:
                with hold():
                    notices = dashboard.go(query)
                self.say(*notices)
        except UserError as error:
            self.say(str(error))
        self.names = list(saved_views(folder))

    @staticmethod
    def say(*notices: str) -> None:
        """Show sentences where the page shows them."""
        for notice in notices:
            if pn.state.notifications is not None:
                pn.state.notifications.warning(notice, duration=8000)
