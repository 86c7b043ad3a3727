"""What a person has chosen: the one state object that every view reads and writes.

Views never talk to each other, only to a `Selection`; `param` is the only dependency, so the state can be used, tested
and set from a notebook cell without a server.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

import param

if TYPE_CHECKING:
    from collections.abc import Iterable

MEASURES = ("l1", "mse", "ssim", "hash")
TARGETS = ("predicted", "true")

# URL key of every parameter that a link carries; one place, so that page, docs and tests agree.
URL_KEYS = {
    "model": "model",
    "models": "models",
    "root": "root",
    "classes": "classes",
    "images": "images",
    "method": "method",
    "parameters": "parameters",
    "target": "target",
    "threshold": "threshold",
    "measure": "measure",
}

# Parameters whose values must exist in a warehouse, and what they are.
RESTRICTED = {
    "model": "model",
    "models": "model",
    "root": "root",
    "classes": "class",
    "images": "image",
    "method": "method",
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
    method = param.String(default="grad-cam", doc="The explanation method.")
    parameters = param.Dict(default={}, doc="The method's parameters that differ from the published ones, by name.")
    target = param.Selector(default="predicted", objects=list(TARGETS), doc="The class a map explains.")
    threshold = param.Magnitude(default=0.5, doc="Attention below this is dimmed; the rest is the region of interest.")
    measure = param.Selector(default="l1", objects=list(MEASURES), doc="How two maps are compared (Algorithm 2).")
    generation = param.Integer(default=0, doc="The generation of the warehouse that is shown; changes reload views.")

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.param.watch(self._method_changed, ["method", "parameters"])

    def _method_changed(self, *events: param.parameterized.Event) -> None:
        """Forget the parameters of the method before, unless new ones came with the new method."""
        if self.parameters and {event.name for event in events} == {"method"}:
            self.parameters = {}

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
        for name, kind in RESTRICTED.items():
            if kind not in known:
                continue
            allowed = set(known[kind])
            value = getattr(self, name)
            values = value if isinstance(value, list) else [value] if value else []
            unknown = [v for v in values if v not in allowed]
            if unknown:
                notices.append(f"This warehouse has no {kind} {', '.join(map(repr, unknown))}.")
                kept = [v for v in values if v in allowed]
                changes[name] = kept if isinstance(value, list) else self.param[name].default
            known[kind] = allowed
        if changes:
            self.param.update(**changes)
        return notices


def _toggled(values: list[Any], value: Any) -> list[Any]:
    """Return a new list with `value` removed if present, else appended (a new object, so that watchers fire)."""
    return [v for v in values if v != value] if value in values else [*values, value]
