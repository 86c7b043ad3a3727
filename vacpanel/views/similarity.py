"""How alike the maps of a comparison are (Algorithm 2), as a matrix in which every pair can be looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import param
from bokeh.palettes import Cividis256

from vacpanel import layers
from vacpanel.browser import style
from vacpanel.browser.component import Component
from vacpanel.state import MEASURES
from vacpanel.views.maps import map_script

if TYPE_CHECKING:
    from collections.abc import Sequence

# Name, title, value of two equal maps, and what it is; a test compares them with `etl.explain.similarity`.
KNOWN: tuple[dict[str, Any], ...] = (
    {"name": "l1", "title": "L1", "best": 0.0, "says": "mean absolute difference of attention, 0 is equal"},
    {"name": "mse", "title": "MSE", "best": 0.0, "says": "mean squared difference of attention, 0 is equal"},
    {"name": "ssim", "title": "SSIM", "best": 1.0, "says": "structural similarity, 1 is equal"},
    {"name": "hash", "title": "Hash", "best": 0.0, "says": "share of differing bits of perceptual hashes, 0 is equal"},
)


class SimilarityMatrix(Component):
    """The compared image, a chooser of the measure, and a matrix; a click (or Enter) on a cell shows its two maps.

    Texts are set as text, never as HTML.
    """

    labels = param.List(default=[], item_type=str, doc="What is compared with what.")
    values = param.List(default=[], doc="(L, L) similarities, row by row.")
    pictures = param.List(default=[], doc="Dictionaries with the addresses picture and layers of every map.")
    original = param.String(doc="Address of the compared image.")
    measure = param.Selector(default="l1", objects=list(MEASURES), doc="How two maps are compared.")
    measures = param.List(default=list(KNOWN), doc="What can be chosen, see `KNOWN`.")
    palette = param.List(default=list(Cividis256[::8]), doc="Colours of the least alike to those of equal maps.")
    group = param.String(doc="Whose threshold the maps follow, see `vacpanel.views.maps.group_of`.")
    threshold = param.Magnitude(default=0.5, doc="What the group starts with where no slider says it.")

    _esm = map_script("similarity")
    _stylesheets: ClassVar[list[str]] = [style("maps", "similarity")]


def matrix(maps: Sequence[np.ndarray], size: tuple[int, int], measure: str) -> list[list[float]]:
    """Compare maps of one image (Algorithm 2).

    Parameters
    ----------
    maps
        (h, w) each, in [0, 1]; sizes may differ.
    size
        (width, height) in px in which they are compared: that of the largest picture that a model saw.
    measure
        As `etl.explain.similarity.similarity` takes it.
    """
    from etl.explain.similarity import similarity

    enlarged = np.stack([layers.at_size(attention, size) for attention in maps])
    return np.round(similarity(enlarged, measure), 5).tolist()
