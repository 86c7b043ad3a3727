"""The table of explanations: rows that change while they are looked at, restyled with the threshold in the browser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import param

from vacpanel.browser import style
from vacpanel.browser.component import Component
from vacpanel.views.maps import map_script

if TYPE_CHECKING:
    from collections.abc import Callable

    from panel.models.esm import DataEvent


class MapTable(Component):
    """One row a map: pictures, texts and numbers; sorted, filtered, searched and opened large by the page alone.

    A row is a dictionary: ``picture`` and ``large`` (addresses of what the model saw and of the original), ``layers``
    (the map's address; none where missing), ``state`` (for the style sheet), ``fraction`` (of the work, in [0, 1]),
    ``says`` (over the heatmap, or in its place), ``note`` (below the model), ``title`` (of the row), ``right`` (whether
    the prediction is), ``areas`` (see `vacpanel.layers.areas`), ``values`` (by column; rates in percent) and
    ``details`` ([label, text], for the large row). Texts are set as text, never as HTML.

    A column is a dictionary: ``name``, ``title``, ``kind`` (``picture``, ``heatmap``, ``region``, ``colours``,
    ``model``, ``text``, ``answer``, ``percent`` or ``area``), ``weight`` (of its width), ``help`` and ``full`` (title
    in the large row).
    """

    columns = param.List(default=[], doc="What the table shows, from left to right.")
    group = param.String(doc="Whose threshold the maps follow, see `vacpanel.views.maps.group_of`.")
    threshold = param.Magnitude(default=0.5, doc="What the group starts with where no slider says it.")

    _esm = map_script("map_table")
    _stylesheets: ClassVar[list[str]] = [style("maps", "map_table")]

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.rows: dict[str, dict[str, Any]] = {}
        self._expected: list[dict[str, str]] = []
        self.on_msg(self._asked)
        self._pin: Callable[[str], None] | None = None

    def show_all(self, rows: dict[str, dict[str, Any]]) -> None:
        """Show these rows, by key and in this order, and no others."""
        self.rows = rows
        self._send_msg({"rows": rows, "order": list(rows)})

    def show(self, rows: dict[str, dict[str, Any]]) -> None:
        """Change some rows: what is given replaces what they had, the rest stays."""
        self.rows |= {key: self.rows[key] | row for key, row in rows.items()}
        self._send_msg({"rows": rows})

    def expect(self, maps: list[dict[str, str]]) -> None:
        """Have the page fetch maps that rows are likely to show next: dictionaries of ``picture`` and ``layers``."""
        self._expected = maps
        self._send_msg({"expected": maps})

    def on_pin(self, action: Callable[[str], None]) -> None:
        """Call `action` with the key of a row whose model is to be pinned."""
        self._pin = action

    def _asked(self, event: DataEvent) -> None:
        asked = event.data if isinstance(event.data, dict) else {}
        if asked.get("ready"):  # what was sent before was lost on this page
            self.show_all(self.rows)
            if self._expected:
                self.expect(self._expected)
        elif self._pin is not None and asked.get("pin") in self.rows:
            self._pin(asked["pin"])
