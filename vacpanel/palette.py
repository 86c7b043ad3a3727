"""Colours: one mapping for every view, safe for colour-blind readers, legible on light and dark grounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Okabe & Ito (2008) without black and yellow, which vanish on a dark or a light ground, and two hues of Tol's "muted".
ROOT_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999933", "#882255")
# From nine to twenty, Tol's "muted", "bright" and "medium-contrast" go on; then the colours repeat, and hover
# tells them apart.
MORE_COLORS = (
    *("#44AA99", "#EE6677", "#DDCC77", "#AA4499", "#66CCEE", "#228833", "#CCBB44", "#332288"),
    *("#6699CC", "#997700", "#EE99AA", "#994455"),
)
MODEL_COLORS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255", "#999933")

# Tol's "muted" without indigo, which vanishes on a dark ground; other hues than those of the root classes.
FAMILY_COLORS = ("#88CCEE", "#CC6677", "#44AA99", "#DDCC77", "#AA4499", "#117733", "#999933", "#882255")

NEUTRAL = "#8a8f98"  # readable on white and on near-black: grids, uncompared models, labels
RIGHT, WRONG = "#0072B2", "#E69F00"  # blue and orange, never red and green
FAMILY_MARKERS = ("circle", "square", "triangle", "diamond", "inverted_triangle", "hex", "plus", "star")


def root_colors(roots: Sequence[str]) -> dict[str, str]:
    """Map each root class to its colour.

    Parameters
    ----------
    roots
        The root classes in their fixed order (by name), so that a root keeps its colour in every view and session.
    """
    return _cycle(roots, ROOT_COLORS + MORE_COLORS)


def model_colors(models: Sequence[str]) -> dict[str, str]:
    """Map each compared model to a colour, in the order of comparison."""
    return _cycle(models, MODEL_COLORS + MORE_COLORS)


def family_markers(families: Sequence[str]) -> dict[str, str]:
    """Map each model family to a Bokeh marker."""
    return _cycle(sorted(set(families)), FAMILY_MARKERS)


def family_colors(families: Sequence[str]) -> dict[str, str]:
    """Map each model family to its colour."""
    return _cycle(sorted(set(families)), FAMILY_COLORS)


def _cycle(names: Sequence[str], values: Sequence[str]) -> dict[str, str]:
    return {name: values[i % len(values)] for i, name in enumerate(names)}
