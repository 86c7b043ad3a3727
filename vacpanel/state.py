"""What a person has chosen: the one state object that every view reads and writes.

Views never talk to each other, only to a `Selection`; it knows no Panel, so the state can be used, tested and set from
a notebook cell without a server.
"""

from __future__ import annotations

import dataclasses
from copy import copy
from typing import TYPE_CHECKING, Any

import param

from warehouse.predicate import EVERYTHING, Predicate

if TYPE_CHECKING:
    from collections.abc import Iterable

MEASURES = ("l1", "mse", "ssim", "hash")
TARGETS = ("predicted", "true")  # or the id of a class
COMPLEXITIES = ("parameters", "flops", "latency_ms")
ACCURACIES = ("top1", "top5")
GRAPHS = ("classes", "images", "all-images")
COMPARISONS = ("beside", "movement")

# URL key of every parameter that a link carries; one place, so that page, docs and tests agree.
URL_KEYS = {
    "model": "model",
    "models": "models",
    "root": "root",
    "classes": "classes",
    "images": "images",
    "methods": "method",
    "parameters": "parameters",
    "target": "target",
    "threshold": "threshold",
    "measure": "measure",
    "filter": "where",
    "complexity": "x",
    "accuracy": "y",
    "second": "second",
    "comparison": "comparison",
    "graph": "graph",
}

# Conditions of the filter whose values must, too.
CONDITIONS = {"models": "model", "roots": "root", "classes": "class", "images": "image"}

# Parameters whose values must exist in a warehouse, and what they are.
RESTRICTED = {
    "model": "model",
    "models": "model",
    "root": "root",
    "classes": "class",
    "images": "image",
    "methods": "method",
    "second": "model",
}


class Selection(param.Parameterized):
    """The selection shared by all views of one session.

    An empty string or list means "nothing chosen"; what a view shows then is its own affair (usually everything).
    """

    model = param.String(default="", doc="The pinned model: its bars and its distribution graph are shown.")
    models = param.List(default=[], item_type=str, doc="The compared models: taken to a task, coloured in the plots.")
    root = param.String(default="", doc="The pinned root class: its leaf classes are shown for all models.")
    classes = param.List(default=[], item_type=int, doc="The selected classes, as class ids, newest last.")
    images = param.List(default=[], item_type=int, doc="The selected images, as image ids.")
    methods = param.List(default=["grad-cam"], item_type=str, doc="The explanation methods; never empty.")
    parameters = param.Dict(
        default={},
        doc="Parameters that differ from the published ones: {method: {name: value}}, no method without any.",
    )
    target = param.String(
        default="predicted",
        regex=r"^(predicted|true|[0-9]{1,9})\Z",
        doc="The class a map explains: the one that the model predicts, the true one, or the class with this id.",
    )
    threshold = param.Magnitude(default=0.5, doc="Attention below this is dimmed; the rest is the region of interest.")
    measure = param.Selector(default="l1", objects=list(MEASURES), doc="How two maps are compared (Algorithm 2).")
    filter = param.ClassSelector(
        class_=Predicate, default=EVERYTHING, doc="Which predictions count, in all views: one SQL condition."
    )
    complexity = param.Selector(default="parameters", objects=list(COMPLEXITIES), doc="How a model's cost is measured.")
    accuracy = param.Selector(default="top1", objects=list(ACCURACIES), doc="How often it is right, by which measure.")
    second = param.String(default="", doc="Another model whose distribution graph is compared with the pinned one's.")
    comparison = param.Selector(
        default="beside", objects=list(COMPARISONS), doc="The second model's graph: beside the first, or as movement."
    )
    graph = param.Selector(default="classes", objects=list(GRAPHS), doc="What the distribution graph's points are.")
    generation = param.Integer(default=0, doc="The generation of the warehouse that is shown; changes reload views.")

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.param.watch(self._methods_changed, "methods")

    def _methods_changed(self, _: param.parameterized.Event) -> None:
        """Keep one method at least, and forget the parameters of methods that are no longer chosen."""
        if not self.methods:
            self.methods = list(self.param.methods.default)
        kept = {method: given for method, given in self.parameters.items() if method in self.methods}
        if kept != self.parameters:
            self.parameters = kept

    @property
    def method(self) -> str:
        """The first of the explanation methods; to set it chooses that one alone."""
        return str(self.methods[0])

    @method.setter
    def method(self, method: str) -> None:
        self.methods = [method]

    @property
    def target_class(self) -> str | int:
        """The class that a map explains: ``"predicted"``, ``"true"`` or a class id."""
        return int(self.target) if self.target.isdigit() else str(self.target)

    def set_parameters(self, method: str, given: dict[str, Any]) -> None:
        """Set the parameters of one method, only those that differ from the published ones."""
        others = {name: values for name, values in self.parameters.items() if name != method}
        self.parameters = others | ({method: given} if given else {})

    def toggle_model(self, model: str) -> None:
        """Add `model` to the compared models, or take it out."""
        self.models = _toggled(self.models, model)

    def toggle_class(self, class_id: int) -> None:
        """Add `class_id` to the selected classes, or take it out."""
        self.classes = _toggled(self.classes, class_id)

    def select_class(self, class_id: int) -> None:
        """Make `class_id` the one selected class and forget the images of the class before."""
        if self.classes != [class_id]:
            self.param.update(classes=[class_id], images=[])

    def narrowed(self, **conditions: Any) -> Predicate:
        """Return the filter with some conditions set; the others stay. An empty tuple or None lifts a condition."""
        return dataclasses.replace(self.filter, **conditions)

    def reset(self) -> None:
        """Choose nothing, as at the start; only the shown generation stays."""
        self.param.update(
            # Lists and dictionaries are copied: every session changes its own.
            **{name: copy(self.param[name].default) for name in URL_KEYS}
        )

    def restrict(self, **known: Iterable[Any]) -> list[str]:
        """Drop what the warehouse does not hold, and say so.

        Parameters
        ----------
        **known
            The values that exist, by what they are: ``model``, ``root``, ``class``, ``image``, ``method``.

        Returns
        -------
        list of str
            One plain sentence for every parameter from which something was dropped; empty when all is known.
        """
        notices: list[str] = []
        changes: dict[str, Any] = {}
        known = {kind: set(values) for kind, values in known.items()}

        def kept(values: Iterable[Any], kind: str) -> list[Any]:
            unknown = [v for v in values if v not in known[kind]]
            if unknown:
                notices.append(f"This warehouse has no {kind} {_listed(unknown)}.")
            return [v for v in values if v in known[kind]]

        for name, kind in RESTRICTED.items():
            if kind in known:
                value = getattr(self, name)
                values = value if isinstance(value, list) else [value] if value else []
                left = kept(values, kind)
                if left != values:
                    changes[name] = left if isinstance(value, list) else self.param[name].default
        if "class" in known and self.target.isdigit() and not kept([int(self.target)], "class"):
            changes["target"] = self.param.target.default
        conditions = {
            name: tuple(kept(getattr(self.filter, name), kind)) for name, kind in CONDITIONS.items() if kind in known
        }
        changes["filter"] = dataclasses.replace(self.filter, **conditions)
        if changes["filter"] == self.filter:
            del changes["filter"]
        if changes:
            self.param.update(**changes)
        return notices


def _toggled(values: list[Any], value: Any) -> list[Any]:
    """Return a new list with `value` removed if present, else appended (a new object, so that watchers fire)."""
    return [v for v in values if v != value] if value in values else [*values, value]


def _listed(values: list[Any]) -> str:
    """Return values as a sentence names them: a link may hold thousands, and each of them pages of text."""
    first = [repr(value if isinstance(value, int) else value[:60]) for value in values[:5]]
    return ", ".join(first) + (f" and {len(values) - 5} more" if len(values) > 5 else "")
