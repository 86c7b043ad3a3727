"""Rows of a table that change while they are looked at: previews, progress, results, another threshold.

Panel rebuilds a whole Tabulator when one of its values changes, and loses what comes while it does so. Here the page
keeps what the rows show in a place of its own: the pictures are elements that look there, so that a heatmap can evolve
four times a second without a flicker, and finished values are handed to Tabulator row by row.
"""

from __future__ import annotations

import itertools
import json
from typing import Any, ClassVar

import param
from panel.custom import JSComponent
from panel.io.model import JSCode

_tables = itertools.count()


class LiveRows(JSComponent):
    """What the rows of one table show; draws nothing itself, but has to be on the page.

    A row is a dictionary: ``heatmap`` and ``region`` (addresses of pictures; none where missing), ``says`` (text over
    the heatmap, or in its place), ``state`` (for style sheets), ``fraction`` (of the work, in [0, 1]) and ``values``
    (of other columns). The table's columns "heatmap" and "region" hold the row's key. Texts are set as text, never as
    HTML.
    """

    table = param.String(doc="Tells this table's rows from those of others on the page.")

    def __init__(self, **params: Any) -> None:
        super().__init__(table=f"table-{next(_tables)}", **params)
        self.rows: dict[str, dict[str, Any]] = {}
        # A page says when it is ready, for what was sent before was lost on it.
        self.on_msg(lambda _: self.show_all(self.rows))

    def formatter(self, kind: str) -> JSCode:
        """Return the Tabulator formatter of the column "heatmap" or "region"."""
        attributes = json.dumps({"table": self.table, "kind": kind})
        return JSCode(
            "function(cell) { const picture = document.createElement('vac-picture'); picture.cell = cell; "
            f"Object.assign(picture.dataset, {attributes}, {{key: cell.getValue()}}); return picture }}"
        )

    def show_all(self, rows: dict[str, dict[str, Any]]) -> None:
        """Show these rows, by key, and no others."""
        self.rows = rows
        self._send_msg({"rows": rows, "all": True})

    def show(self, rows: dict[str, dict[str, Any]]) -> None:
        """Change some rows; the others stay as they are."""
        self.rows |= rows
        self._send_msg({"rows": rows})

    _esm = """
    const tables = (globalThis.vacpanelTables ??= new Map())

    function tableOf(name) {
      if (!tables.has(name)) tables.set(name, { rows: {}, pictures: new Set() })
      return tables.get(name)
    }

    class Picture extends HTMLElement {
      connectedCallback() {
        const table = tableOf(this.dataset.table)
        table.pictures.add(this)
        this.draw()
        // Once Tabulator has drawn all of its rows: what they show may have come before.
        table.drawn ??= requestAnimationFrame(() => {
          table.drawn = null
          settle(table)
        })
      }

      disconnectedCallback() {
        tableOf(this.dataset.table).pictures.delete(this)
      }

      draw() {
        const row = tableOf(this.dataset.table).rows[this.dataset.key] ?? {}
        this.dataset.state = row.state ?? ""
        this.paint(row[this.dataset.kind] ?? "")
        if (this.dataset.kind !== "heatmap") return
        this.text ??= this.appendChild(document.createElement("span"))
        this.text.textContent = this.title = row.says ?? ""
        this.text.hidden = !row.says
        this.text.className = row.heatmap ? "badge" : "says"
        this.text.style.setProperty("--done", `${100 * (row.fraction ?? 0)}%`)
      }

      // The picture before stays until the new one can be painted; one that comes too late is dropped.
      paint(address) {
        if (this.address === address) return
        this.address = address
        const turn = (this.turn = (this.turn ?? 0) + 1)
        const picture = address ? new Image() : null
        const show = () => {
          if (turn <= (this.painted ?? 0)) return
          this.painted = turn
          this.picture?.remove()
          this.picture = picture
          if (picture) this.prepend(picture)
        }
        if (picture) {
          picture.alt = this.dataset.kind
          picture.src = address
        }
        if (!picture || !this.picture) show()
        else picture.decode().then(show, () => {})
      }
    }

    if (!customElements.get("vac-picture")) customElements.define("vac-picture", Picture)

    // Hand finished values to Tabulator, which sorts by them, and keep its order if that is by one of them.
    function settle(table) {
      const [picture] = table.pictures
      if (!picture) return
      const grid = picture.cell.getTable()
      const changed = new Set()
      for (const row of grid.getRows()) {
        const data = row.getData()
        const values = table.rows[data.heatmap]?.values ?? {}
        const names = Object.keys(values).filter((name) => !Object.is(data[name], values[name]))
        if (!names.length) continue
        names.forEach((name) => changed.add(name))
        row.update(values).then(() => row.reformat())
      }
      const sorters = grid.getSorters()
      if (sorters.some(({ field }) => changed.has(field)))
        grid.setSort(sorters.map(({ field, dir }) => ({ column: field, dir })))
    }

    export function render({ model }) {
      const table = tableOf(model.table)
      model.on("msg:custom", ({ rows, all }) => {
        table.rows = all ? rows : { ...table.rows, ...rows }
        for (const picture of table.pictures) if (all || picture.dataset.key in rows) picture.draw()
        settle(table)
      })
      model.send_msg("ready")
      return document.createElement("div")
    }
    """

    style_sheet: ClassVar[str] = """
    vac-picture { display: block; position: relative; width: 88px; height: 88px; }
    vac-picture img { display: block; width: 100%; height: 100%; object-fit: contain; }
    vac-picture .says {
      display: block; width: 180px; max-height: 100%; overflow: auto;
      font-size: 11px; line-height: 1.3; white-space: normal; opacity: .8;
    }
    .tabulator-row .tabulator-cell:has(vac-picture .says:not([hidden])) { overflow: visible; z-index: 1; }
    vac-picture [hidden] { display: none; }
    vac-picture .badge {
      position: absolute; left: 0; right: 0; bottom: 0; padding: 1px 2px; color: white; font-size: 10.5px;
      text-align: center; white-space: normal;
      background: linear-gradient(to right, rgba(0, 114, 178, .95) var(--done), rgba(30, 30, 30, .85) var(--done));
    }
    .tabulator-row:has(vac-picture[data-state="failed"]) {
      background: rgba(220, 38, 38, .16) !important; box-shadow: inset 4px 0 #dc2626;
    }
    vac-picture[data-state="failed"] .says { opacity: 1; }
    """
