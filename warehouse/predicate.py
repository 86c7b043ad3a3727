"""The filter language that all views share: one predicate, one SQL WHERE."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclasses.dataclass(frozen=True)
class Predicate:
    """Which rows of the relation `predictions` are meant; all given conditions must hold.

    An empty tuple or None does not restrict.

    Parameters
    ----------
    models
        Models, by name.
    roots
        Root classes of the true class, by name.
    classes
        True classes, by id.
    images
        Images, by id.
    correct
        True for right predictions only, False for wrong ones only.
    min_confidence, max_confidence
        Bounds of the confidence of the prediction, both inclusive.

    Raises
    ------
    ValueError
        If a bound is NaN.

    Examples
    --------
    >>> Predicate(models=("demo:resnet18",), correct=False).sql()
    "model IN ('demo:resnet18') AND NOT correct"
    """

    models: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()
    classes: tuple[int, ...] = ()
    images: tuple[int, ...] = ()
    correct: bool | None = None
    min_confidence: float | None = None
    max_confidence: float | None = None

    def __post_init__(self) -> None:
        for bound in (self.min_confidence, self.max_confidence):
            if bound is not None and math.isnan(bound):
                raise ValueError("A bound of the confidence cannot be NaN.")

    def __bool__(self) -> bool:
        """Whether anything is restricted."""
        return self != Predicate()

    def without(self, *names: str) -> Predicate:
        """Return the predicate without some of its conditions, by name of the parameter."""
        return dataclasses.replace(self, **{name: getattr(EVERYTHING, name) for name in names})

    def where(self) -> tuple[str, list[Any]]:
        """Return the condition for `SELECT ... FROM predictions WHERE`, with `?` marks, and their values."""
        values: list[Any] = []

        def mark(value: Any) -> str:
            values.append(value)
            return "?"

        return self._text(mark), values

    def sql(self) -> str:
        """Return the same condition with the values written into it, to be read, copied and run."""
        return self._text(literal)

    def _text(self, write: Callable[[Any], str]) -> str:
        conditions = []
        if self.models:
            conditions.append(f"model IN {_members(self.models, write)}")
        if self.roots:
            roots = _members(self.roots, write)
            conditions.append(f"class_id IN (SELECT class_id FROM classes WHERE root_class IN {roots})")
        if self.classes:
            conditions.append(f"class_id IN {_members(self.classes, write)}")
        if self.images:
            conditions.append(f"image_id IN {_members(self.images, write)}")
        if self.correct is not None:
            conditions.append("correct" if self.correct else "NOT correct")
        if self.min_confidence is not None:
            conditions.append(f"confidence >= {write(float(self.min_confidence))}")
        if self.max_confidence is not None:
            conditions.append(f"confidence <= {write(float(self.max_confidence))}")
        return " AND ".join(conditions) or "true"


def _members(values: Sequence[Any], write: Callable[[Any], str]) -> str:
    return "(" + ", ".join(write(value) for value in values) + ")"


def literal(value: str | float) -> str:
    """Return a value as it is written in SQL, text in quotes."""
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, float):
        # A plain 0.1 would be a DECIMAL and compared as such; this is the very same double as the parameter.
        return f"'{value!r}'::DOUBLE"
    return str(int(value))


EVERYTHING = Predicate()
"""Restricts nothing."""
