"""A view: the images of which the pinned model is least sure; a click selects one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import panel as pn
import param

from vacpanel.views.base import View
from warehouse.predicate import literal

if TYPE_CHECKING:
    from panel.viewable import Viewable

    from vacpanel.state import Selection
    from warehouse import Warehouse

QUERY = """
SELECT image_id, path, class_name AS prediction, confidence
FROM predictions JOIN images USING (image_id) JOIN classes ON classes.class_id = predicted_class_id
WHERE model = {} ORDER BY confidence, image_id LIMIT 10
"""


class Doubts(View):
    """The images of which the pinned model is least sure."""

    title: ClassVar[str] = "Doubts"
    help_text: ClassVar[str] = "The images of which the pinned model is least sure. Click a name to select it."

    def __init__(self, warehouse: Warehouse, state: Selection | None = None, **params: Any) -> None:
        super().__init__(warehouse, state, **params)
        self._list = pn.Column()
        self.follow()

    @param.depends("state.model", "state.generation", watch=True)
    def follow(self) -> None:
        """Show the state."""
        rows = self.warehouse.sql(self.sql()).fetchall()
        self.heading = f"Doubts of {self.state.model}" if rows else "Pin a model to see its doubts"
        self._list[:] = [
            pn.widgets.Button(
                name=f"{path}: {prediction}, {confidence:.0%}", on_click=lambda _, i=image: self.select(i)
            )
            for image, path, prediction, confidence in rows
        ]

    def sql(self) -> str:
        """Return the query for the rows behind the view, with its values: the menu of the view saves and copies it."""
        return QUERY.format(literal(self.state.model))

    def select(self, image: int) -> None:
        """Write to the state what the user did."""
        self.state.images = [image]

    def body(self) -> Viewable:
        """Return the drawing."""
        return self._list
