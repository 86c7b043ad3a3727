"""Choosing some of many by typing a few letters."""

from __future__ import annotations

from typing import ClassVar

import param

from vacpanel.browser import script, style
from vacpanel.browser.component import Component


class Picker(Component):
    """A field that finds items by fuzzy search and holds those that were chosen.

    What is typed is looked for in name and detail: as it stands, as letters with others in between, or with a slip in
    it. Texts are set as text, never as HTML.
    """

    items = param.List(default=[], doc="Dictionaries with value, name and detail (all str), in the order of the list.")
    value = param.List(default=[], item_type=str, doc="The values that are chosen, in the order of choice.")
    label = param.String(doc="What is chosen here.")
    placeholder = param.String(doc="What the empty field says.")
    single = param.Boolean(default=False, doc="Whether a choice replaces the one before.")

    _esm = script("picker")

    _stylesheets: ClassVar[list[str]] = [style("picker")]
