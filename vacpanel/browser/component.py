"""What all components of the page have in common."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from panel.custom import JSComponent

if TYPE_CHECKING:
    from bokeh.document import Document


class Component(JSComponent):
    """A component whose script a browser runs as it is.

    Panel takes every script for TypeScript and has the page translate it, once for each place where it is used, unless
    it comes out of a bundler. Ours needs no translation either.
    """

    def _get_properties(self, doc: Document | None) -> dict[str, Any]:
        properties: dict[str, Any] = super()._get_properties(doc)
        properties["bundle"] = hashlib.sha256(str(properties["esm"]).encode()).hexdigest()
        return properties
