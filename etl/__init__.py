"""Images through classifiers into a warehouse, and visual explanations.

The four functions here are the public interface; importing this package imports neither torch nor anything else that is
slow until one of them is used.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from etl.distances import class_distances
    from etl.explain import explain
    from etl.explain.similarity import similarity
    from etl.pipeline import run

__all__ = ["class_distances", "explain", "run", "similarity"]

_HOMES = {
    "class_distances": "etl.distances",
    "explain": "etl.explain",
    "run": "etl.pipeline",
    "similarity": "etl.explain.similarity",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = import_module(_HOMES[name])
    return home if name == "explain" else getattr(home, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _CallableModule(ModuleType):
    """The subpackage ``etl.explain``, which can be called like the function of that name in it."""

    explain: Callable[..., Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.explain(*args, **kwargs)

    @property
    def __wrapped__(self) -> Callable[..., Any]:  # help() and inspect.signature() look here
        return self.explain


class _Package(ModuleType):
    """The package: the import system sets a subpackage as its attribute, over anything of the same name."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "explain" and isinstance(value, ModuleType):
            value.__class__ = _CallableModule
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
