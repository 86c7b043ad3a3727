"""All that this benchmark knows about the dashboard's plots: what they are called and how their marks are found."""

from __future__ import annotations

from dataclasses import dataclass

SCATTER, RADAR, MODEL_BARS, ROOT_BARS, GRAPH = (
    ".vac-scatter",
    ".vac-radar",
    ".vac-modelbars",
    ".vac-rootbars",
    ".vac-distribution",
)
ALL = (SCATTER, RADAR, MODEL_BARS, ROOT_BARS, GRAPH)


@dataclass(frozen=True)
class Marks:
    """Marks of one plot.

    Attributes
    ----------
    view
        Selector of the view.
    key
        Column whose values tell the marks apart.
    without
        Columns by which other plots of the view with the same key are told from it.
    """

    view: str
    key: str
    without: tuple[str, ...] = ()


MODELS = Marks(SCATTER, "model")
ROOTS = Marks(RADAR, "root", without=("model",))
CLASSES = Marks(GRAPH, "class_id")
BARS = Marks(MODEL_BARS, "class_id")


@dataclass(frozen=True)
class Interaction:
    """Something a person does with the pointer, and what must come of it.

    Attributes
    ----------
    name
        What is done.
    marks
        With which marks.
    changes
        Selectors of the views that must show something else afterwards.
    box
        Whether a box is drawn around some marks; else one is tapped.
    """

    name: str
    marks: Marks
    changes: tuple[str, ...]
    box: bool = False


INTERACTIONS = (
    Interaction("tap model", MODELS, (MODEL_BARS, RADAR, GRAPH)),
    Interaction("tap root", ROOTS, (ROOT_BARS, GRAPH)),
    Interaction("tap class", CLASSES, (MODEL_BARS, GRAPH)),
    Interaction("brush classes", CLASSES, (SCATTER, RADAR, MODEL_BARS), box=True),
)
