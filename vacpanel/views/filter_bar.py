"""The cross-filter as a person sees it: what counts, as chips and as the one SQL condition that all views share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import panel as pn
import param

from vacpanel.browser import script, style
from vacpanel.browser.component import Component
from vacpanel.notebook import hold
from vacpanel.palette import root_colors
from vacpanel.state import Selection
from vacpanel.words import count, thousands
from warehouse.predicate import EVERYTHING, Predicate

if TYPE_CHECKING:
    from panel.models.esm import DataEvent
    from panel.viewable import Viewable

    from warehouse import Warehouse

ANSWERS = {"": None, "right": True, "wrong": False}


class FilterBar(pn.viewable.Viewer):
    """Chips of the filter's conditions, controls for those that no plot sets, and its SQL, to be copied.

    Parameters
    ----------
    warehouse, state
        As of a `View`.
    """

    state = param.ClassSelector(class_=Selection, doc="The selection whose filter is shown.")

    def __init__(self, warehouse: Warehouse, state: Selection, **params: Any) -> None:
        super().__init__(state=state, **params)
        self.warehouse = warehouse
        self._bar = FilterControls(sizing_mode="stretch_width", margin=(2, 4))
        self._bar.on_msg(self._asked)
        self._offer()
        self._follow()

    @param.depends("state.generation", watch=True)
    def _offer(self) -> None:
        """Offer the models and roots that there are."""
        table = self.warehouse.models()
        colors = root_colors(self.warehouse.roots())
        self._labels = dict(zip(map(str, table["model"]), map(str, table["label"]), strict=True))
        self._bar.param.update(
            models=[[model, label] for model, label in self._labels.items()],
            roots=[[root, root, colors[root]] for root in colors],
        )
        self._follow()

    @param.depends("state.filter", watch=True)
    def _follow(self) -> None:
        where: Predicate = self.state.filter
        tally = self.warehouse.tally(where)
        left = int((tally.images if where.correct is None else tally.right1).sum())
        of = int(self.warehouse.tally().images.sum())
        self._bar.param.update(
            chips=self._chips(where),
            chosen={"models": list(where.models), "roots": list(where.roots)},
            answers={None: "", True: "right", False: "wrong"}[where.correct],
            bounds=[where.min_confidence, where.max_confidence],
            sql=f"SELECT * FROM predictions WHERE {where.sql()}",
            counted=f"{thousands(left)} of {count(of, 'prediction')}" if where else count(of, "prediction"),
        )

    def _chips(self, where: Predicate) -> list[list[str]]:
        """Return (conditions to lift, text) of every condition that is set."""
        chips = []
        if where.models:
            names = [self._labels.get(model, model) for model in where.models]
            chips.append(["models", names[0] if len(names) == 1 else count(len(names), "model")])
        if where.roots:
            chips.append(["roots", ", ".join(where.roots) if len(where.roots) < 3 else f"{len(where.roots)} roots"])
        if where.classes:
            names = [str(name) for name in self.warehouse.classes()["class_name"]]
            first = where.classes[0]
            one = names[first] if len(where.classes) == 1 and first < len(names) else ""
            chips.append(["classes", one or count(len(where.classes), "class")])
        if where.images:
            chips.append(["images", count(len(where.images), "image")])
        if where.correct is not None:
            chips.append(["correct", "right answers" if where.correct else "wrong answers"])
        low, high = where.min_confidence, where.max_confidence
        if low is not None or high is not None:
            text = f"{0 if low is None else low:.0%} to {1 if high is None else high:.0%}"
            chips.append(["min_confidence max_confidence", f"confidence {text}"])
        return chips

    def _asked(self, event: DataEvent) -> None:
        """Do what the page asks for: set conditions, or lift them. Only known names and values count."""
        asked = event.data if isinstance(event.data, dict) else {}
        with hold():
            if asked.get("reset"):
                self.state.filter = EVERYTHING
            elif isinstance(asked.get("lift"), str):
                names = {name for name in asked["lift"].split() if name in Predicate.__dataclass_fields__}
                self.state.filter = self.state.filter.without(*names)
            elif asked.get("answers") in ANSWERS:
                self.state.filter = self.state.narrowed(correct=ANSWERS[asked["answers"]])
            elif isinstance(asked.get("bounds"), list) and len(asked["bounds"]) == 2:
                # Whole percents, as the chip says them: these were counted when the generation was published.
                low, high = (
                    round(min(max(float(b), 0.0), 1.0), 2) if isinstance(b, int | float) else None
                    for b in asked["bounds"]
                )
                if low is not None and high is not None and low > high:
                    low, high = high, low
                self.state.filter = self.state.narrowed(min_confidence=low, max_confidence=high)
            elif isinstance(asked.get("models"), list):
                self.state.filter = self.state.narrowed(models=tuple(m for m in self._labels if m in asked["models"]))
            elif isinstance(asked.get("roots"), list):
                roots = tuple(root for root in self.warehouse.roots() if root in asked["roots"])
                self.state.filter = self.state.narrowed(roots=roots)

    def __panel__(self) -> Viewable:
        """Return the bar."""
        return self._bar


class FilterControls(Component):
    """What `FilterBar` shows; reports what is asked for as messages."""

    chips = param.List(default=[], doc="[names of conditions, text] of every condition that is set.")
    models = param.List(default=[], doc="[value, name] of every model.")
    roots = param.List(default=[], doc="[value, name, colour] of every root class.")
    chosen = param.Dict(default={}, doc="Which models and roots are conditions.")
    answers = param.String(default="", doc="'', 'right' or 'wrong'.")
    bounds = param.List(default=[None, None], doc="Bounds of the confidence, in [0, 1], or None.")
    sql = param.String(default="", doc="The filter as a query.")
    counted = param.String(default="", doc="How much it leaves.")

    _esm = script("copy", "filter_bar")

    _stylesheets: ClassVar[list[str]] = [style("filter_bar")]
