"""The threshold of attention as a slider: while it is dragged, the page's maps follow it without the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import param

from vacpanel.browser import style
from vacpanel.browser.component import Component
from vacpanel.notebook import hold
from vacpanel.views.maps import group_of, map_script

if TYPE_CHECKING:
    from vacpanel.state import Selection


class ThresholdSlider(Component):
    """A slider that restyles all maps of its group while it is dragged, and changes its value when it is let go."""

    value = param.Magnitude(default=0.5, doc="The threshold, as the user left it.")
    label = param.String(default="Threshold of attention", doc="What is chosen here.")
    group = param.String(doc="Whose maps follow, see `vacpanel.views.maps.group_of`.")

    _esm = map_script("threshold")
    _stylesheets: ClassVar[list[str]] = [style("maps", "threshold")]

    @classmethod
    def of(cls, state: Selection, **params: Any) -> ThresholdSlider:
        """Return a slider of a state's threshold, each following the other.

        Parameters
        ----------
        state
            Read and written.
        **params
            Of the slider.
        """
        slider = cls(value=state.threshold, group=group_of(state), **params)

        def chosen(event: param.parameterized.Event) -> None:
            if state.threshold != event.new:
                with hold():
                    state.threshold = event.new

        def changed(event: param.parameterized.Event) -> None:
            slider.value = event.new

        slider.param.watch(chosen, "value")
        state.param.watch(changed, "threshold")
        return slider
