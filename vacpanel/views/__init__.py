"""The views: each one a `panel.viewable.Viewer` that stands alone in a notebook and links through the state.

Views come through the entry-point group ``vacpanel.views``; a view of your own is one class and one line there.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vacpanel.views.bars import ModelBars, RootBars
    from vacpanel.views.distribution import Distribution
    from vacpanel.views.explanations import Explanations
    from vacpanel.views.radar import Radar
    from vacpanel.views.scatter import Scatter
    from vacpanel.views.supplement import Supplement

__all__ = ["Distribution", "Explanations", "ModelBars", "Radar", "RootBars", "Scatter", "Supplement"]
_MODULES = {name: name.lower() for name in __all__} | {"ModelBars": "bars", "RootBars": "bars"}


def __getattr__(name: str) -> Any:
    # Each brings what it needs; who asks for one should not wait for all.
    if name in _MODULES:
        return getattr(import_module(f"vacpanel.views.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
