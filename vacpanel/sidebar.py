"""C: the task sidebar (paper section 5.2): models, classes, method, target, threshold, measure, Run."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import panel as pn
import panel_material_ui as pmui
import param

from vacpanel import methods
from vacpanel.classes import class_options
from vacpanel.controller import Controller
from vacpanel.options import MethodOptions
from vacpanel.state import Selection
from vacpanel.views.text import line

if TYPE_CHECKING:
    from panel.viewable import Viewable

    from warehouse import Warehouse

TARGET_NAMES = {"the class each model predicts": "predicted", "the true class": "true"}
MEASURE_NAMES = {"L1": "l1", "Mean squared error": "mse", "SSIM": "ssim", "Perceptual hash": "hash"}


class TaskSidebar(pn.viewable.Viewer):
    """The widgets that compose a task, two-way bound to the state, and the button that runs it."""

    state = param.ClassSelector(class_=Selection, doc="The selection this sidebar reads and writes.")

    def __init__(self, warehouse: Warehouse, state: Selection, **params: Any) -> None:
        super().__init__(state=state, **params)
        self.warehouse = warehouse
        self.controller = Controller.of(warehouse, state)
        wide = {"sizing_mode": "stretch_width", "margin": (6, 10)}
        self._models = pmui.MultiChoice(
            label="Models to compare", placeholder="Add a model", **(wide | {"margin": (16, 10, 6, 10)})
        )
        self._classes = pmui.MultiChoice(label="Classes", placeholder="Add a class", searchable=True, **wide)
        self._image = line("", margin=(0, 12), sizing_mode="stretch_width")
        self._method = pmui.Select(label="Explanation method", options=methods.choices(), **wide)
        self._options = MethodOptions(state)
        self._target = pmui.Select(label="Explain", options=TARGET_NAMES, **wide)
        self._threshold = pmui.FloatSlider(label="Threshold of attention", start=0, end=1, step=0.05, **wide)
        self._measure = pmui.Select(label="Similarity of maps", options=MEASURE_NAMES, **wide)
        self._run = pmui.Button(label="Explain", color="primary", sizing_mode="stretch_width", margin=(10, 10, 4, 10))
        self._cancel = pmui.Button(label="Cancel", variant="outlined", sizing_mode="stretch_width", margin=(4, 10))
        self._bar = pmui.LinearProgress(value=0, variant="determinate", sizing_mode="stretch_width", margin=(4, 10))
        self._say = line("", margin=(0, 12), sizing_mode="stretch_width")
        self._offer()
        self._follow_task()
        self._follow_state()
        for widget, name in (
            (self._models, "models"),
            (self._classes, "classes"),
            (self._method, "method"),
            (self._target, "target"),
            (self._measure, "measure"),
        ):
            widget.param.watch(lambda event, name=name: self._write(name, event.new), "value")
        self._threshold.param.watch(lambda event: self._write("threshold", event.new), "value_throttled")
        self._run.on_click(self._clicked)
        self._cancel.on_click(lambda _: self.controller.cancel())
        self.controller.param.watch(self._follow_task, ["busy", "done", "running", "total", "message"])

    def _write(self, name: str, value: Any) -> None:
        if getattr(self.state, name) == value:
            return
        if name == "classes":
            self.state.param.update(classes=value, images=[])
        else:
            setattr(self.state, name, value)

    @param.depends("state.generation", watch=True)
    def _offer(self) -> None:
        """Offer what the warehouse holds now."""
        models = self.warehouse.models()
        self._models.options = dict(zip(map(str, models["label"]), map(str, models["model"]), strict=True))
        self._classes.options = class_options(self.warehouse.classes())

    @param.depends(
        "state.model",
        "state.models",
        "state.classes",
        "state.images",
        "state.method",
        "state.target",
        "state.threshold",
        "state.measure",
        "state.generation",
        watch=True,
    )
    def _follow_state(self) -> None:
        state = self.state
        self._models.value = list(state.models)
        self._classes.value = list(state.classes)
        if state.method not in self._method.options.values():
            self._method.options = {**self._method.options, state.method: state.method}
        self._method.value = state.method
        self._target.value, self._measure.value = state.target, state.measure
        self._threshold.value = state.threshold
        self._image.object = (
            f"Image {', '.join(map(str, state.images))} is picked." if state.images else "No image is picked."
        )
        task = self.controller.task()
        self._run.param.update(label=task.label, disabled=bool(task.problem))
        if not self.controller.busy:
            self._say.object = escape(task.problem)

    def _follow_task(self, *_: param.parameterized.Event) -> None:
        controller = self.controller
        self._cancel.visible = controller.busy
        self._bar.visible = controller.busy
        self._bar.value = round(100 * (controller.done + controller.running) / max(controller.total, 1))
        counted = f"{controller.done} of {controller.total} maps" if controller.busy else ""
        if controller.running:
            counted += f", the next at {round(100 * controller.running)} %"
        self._say.object = escape(f"{counted}. {controller.message}" if counted else controller.message)

    async def _clicked(self, _: Any) -> None:
        await self.controller.run()

    def __panel__(self) -> Viewable:
        """Return the widgets in the order in which a task is composed."""
        return pn.Column(
            self._models,
            self._classes,
            self._image,
            self._method,
            self._options,
            self._target,
            self._threshold,
            self._measure,
            self._run,
            self._cancel,
            self._bar,
            self._say,
            sizing_mode="stretch_width",
            css_classes=["vac-task"],
        )
