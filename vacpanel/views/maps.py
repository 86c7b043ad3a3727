"""Maps on the page: what all components share that show them, and pictures of maps with a caption each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import param

from vacpanel import layers, render
from vacpanel.browser import script, style
from vacpanel.browser.component import Component
from vacpanel.notebook import hold

if TYPE_CHECKING:
    from panel.models.esm import DataEvent

    from vacpanel.state import Selection

LOOK: dict[str, Any] = {
    "steps": layers.STEPS,
    "scale": render.color_scale().tobytes().hex(),
    "color": render.COLOR,
    "dim": render.DIM,
    "shadow": render.SHADOW,
    "outside": render.OUTSIDE,
    "levels": render.LEVELS,
}


def map_script(*names: str) -> str:
    """Return the script of a component that shows maps: what paints them, then files of `vacpanel.browser`."""
    return script("maps", *names, LOOK=LOOK)


def group_of(state: Selection) -> str:
    """Return a name for what follows one threshold on a page: everything that shows one state."""
    return f"{state.name}-{id(state):x}"


def commit_threshold(state: Selection, event: DataEvent) -> None:
    """Set the threshold to what a page without a slider of its own asks for."""
    asked = event.data.get("threshold") if isinstance(event.data, dict) else None
    if isinstance(asked, int | float) and 0 <= asked <= 1:
        with hold():
            state.threshold = asked


class MapGallery(Component):
    """Pictures and maps in a wrapping row, each with a caption; maps follow the threshold of their group.

    Captions are set as text, never as HTML.
    """

    items = param.List(
        default=[], doc="Dictionaries: caption, picture, and layers (addresses; without layers just the picture)."
    )
    group = param.String(doc="Maps of one group follow one threshold, see `group_of`.")
    threshold = param.Magnitude(default=0.5, doc="What the group starts with where no slider says it.")
    side = param.Integer(default=80, doc="Least side of a picture in px; they share the width.")

    _esm = map_script("map_gallery")
    _stylesheets: ClassVar[list[str]] = [style("maps", "map_gallery")]
