"""C: the task sidebar (paper section 5.2): models, classes, method, target, threshold, measure, Run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import panel as pn
import param

from vacpanel import methods
from vacpanel.controller import Controller
from vacpanel.notebook import afterwards, hold
from vacpanel.options import MethodOptions
from vacpanel.state import Selection
from vacpanel.views.picker import Picker
from vacpanel.views.shown import show
from vacpanel.views.text import SELECT_CSS, line
from vacpanel.views.threshold import ThresholdSlider
from vacpanel.words import count

if TYPE_CHECKING:
    from panel.viewable import Viewable

    from warehouse import Warehouse

TARGETS = {"the class each model predicts": "predicted", "the true class": "true", "a class of my choice": "class"}
MEASURES = {"L1": "l1", "Mean squared error": "mse", "SSIM": "ssim", "Perceptual hash": "hash"}
WIDE: dict[str, Any] = {"sizing_mode": "stretch_width", "margin": (5, 10)}
CHOICE: dict[str, Any] = {**WIDE, "stylesheets": [SELECT_CSS]}
RUN_CSS = ".bk-btn { padding: 7px 4px; font-weight: 600; }"


class TaskSidebar(pn.viewable.Viewer):
    """The widgets that compose a task, two-way bound to the state, and the button that runs it."""

    state = param.ClassSelector(class_=Selection, doc="The selection this sidebar reads and writes.")

    def __init__(self, warehouse: Warehouse, state: Selection, **params: Any) -> None:
        super().__init__(state=state, **params)
        self.warehouse = warehouse
        self.controller = Controller.of(warehouse, state)
        self._models = Picker(label="Models to compare", placeholder="Add a model", **WIDE)
        self._classes = Picker(label="Classes", placeholder="Name or WordNet id", **WIDE)
        self._image = line("", margin=(0, 12), sizing_mode="stretch_width")
        self._methods = Picker(label="Explanation methods", placeholder="Add a method", **WIDE)
        self._options = MethodOptions(state)
        self._target = pn.widgets.Select(label="Explain", options=TARGETS, **CHOICE)
        self._target_class = Picker(label="Explained class", placeholder="Name or WordNet id", single=True, **WIDE)
        self._threshold = ThresholdSlider.of(state, **WIDE)
        self._measure = pn.widgets.Select(label="Similarity of maps", options=MEASURES, **CHOICE)
        self._run = pn.widgets.Button(label="Explain", color="primary", stylesheets=[RUN_CSS], **WIDE)
        self._cancel = pn.widgets.Button(label="Cancel", variant="outline", **WIDE)
        self._bar = pn.indicators.Progress(value=0, max=100, bar_color="primary", **WIDE)
        self._say = line("", margin=(0, 12), sizing_mode="stretch_width")
        self._due: set[str] = set()
        self._offer()
        self._follow_task()
        self._follow_choices()
        self._follow_measure()
        self._follow_selection()
        for widget, follow in (
            (self._models, lambda chosen: self._write(models=chosen)),
            (self._classes, lambda chosen: self._write(classes=list(map(int, chosen)), images=[])),
            (self._methods, lambda chosen: self._write(methods=chosen or list(Selection.param.methods.default))),
            (self._target, self._target_chosen),
            (self._target_class, lambda chosen: self._write(target=chosen[0] if chosen else "predicted")),
            (self._measure, lambda chosen: self._write(measure=chosen)),
        ):
            widget.param.watch(lambda event, follow=follow: follow(event.new), "value")
        self._run.on_click(self._clicked)
        self._cancel.on_click(lambda _: self.controller.cancel())
        self.controller.param.watch(self._task_changed, ["busy", "done", "running", "total", "message"])

    def _write(self, **chosen: Any) -> None:
        """Set the state to what a widget says, unless it only says what the state says."""
        first = next(iter(chosen))
        if getattr(self.state, first) != chosen[first]:
            with hold():
                self.state.param.update(**chosen)

    def _target_chosen(self, chosen: str) -> None:
        if chosen == "class":
            show(self._target_class)
            if not self.state.target.isdigit() and self.state.classes:
                self._write(target=str(self.state.classes[-1]))
        else:
            self._write(target=chosen)

    @param.depends("state.generation", watch=True)
    def _offer(self) -> None:
        """Offer what the warehouse holds now."""
        models = self.warehouse.models()
        self._models.items = [
            {
                "value": str(model),
                "name": str(label),
                "detail": f"{family}, top-1 {top1:.1%}" if top1 == top1 else family,
            }
            for model, label, family, top1 in zip(
                *(models[n] for n in ("model", "label", "family", "top1")), strict=True
            )
        ]
        classes = self.warehouse.classes()
        self._classes.items = self._target_class.items = [
            {"value": str(class_id), "name": str(name), "detail": " · ".join(filter(None, (str(root), wnid)))}
            for class_id, wnid, name, root in zip(
                *(classes[n] for n in ("class_id", "wnid", "class_name", "root_class")), strict=True
            )
        ]
        self._methods.items = [
            {"value": name, "name": methods.title(name), "detail": methods.price(name)}
            for name in methods.choices().values()
        ]

    @param.depends("state.models", "state.classes", "state.methods", "state.target", watch=True)
    def _choices_changed(self) -> None:
        self._follow_soon("choices")

    @param.depends(
        "state.model",
        "state.models",
        "state.classes",
        "state.images",
        "state.methods",
        "state.filter",
        "state.generation",
        watch=True,
    )
    def _selection_changed(self) -> None:
        self._follow_soon("selection")

    def _task_changed(self, *_: param.parameterized.Event) -> None:
        self._follow_soon("task")

    def _follow_soon(self, part: str) -> None:
        """Have a part of the widgets follow once the plots are on their way; all that are due by then, together."""
        first = not self._due
        self._due.add(part)
        if first:
            afterwards(self._follow_due)

    def _follow_due(self) -> None:
        due, self._due = self._due, set()
        with hold():
            if "choices" in due:
                self._follow_choices()
            if "task" in due:
                self._follow_task()
            if "selection" in due:  # last: what is missing now is said rather than how the last task went
                self._follow_selection()

    def _follow_choices(self) -> None:
        state = self.state
        chosen = state.target.isdigit()
        wanted = (self._models, state.models), (self._classes, map(str, state.classes)), (self._methods, state.methods)
        for picker, values in wanted:
            if picker.value != (value := list(values)):  # Param takes any new list for a change
                picker.value = value
        self._target.value = "class" if chosen else state.target
        self._target_class.value = [state.target] if chosen else []
        show(self._target_class, chosen)

    @param.depends("state.measure", watch=True)
    def _follow_measure(self) -> None:
        self._measure.value = self.state.measure

    def _follow_selection(self) -> None:
        """Name on the button what it would do now."""
        images = self.state.images
        picked = f"Image {images[0]} is picked." if len(images) == 1 else f"{count(len(images), 'image')} are picked."
        self._image.object = picked if images else "No image is picked."
        task = self.controller.task()
        self._run.param.update(label=task.label, disabled=bool(task.problem))
        if not self.controller.busy:
            self._say.object = task.problem

    def _follow_task(self) -> None:
        """Show how far the task is."""
        controller = self.controller
        show(self._cancel, controller.busy)
        show(self._bar, controller.busy)
        self._bar.value = round(100 * (controller.done + controller.running) / max(controller.total, 1))
        counted = f"{controller.done} of {count(controller.total, 'map')}" if controller.busy else ""
        if controller.running:
            counted += f", the next at {round(100 * controller.running)} %"
        self._say.object = f"{counted}. {controller.message}" if counted else controller.message

    async def _clicked(self, _: Any) -> None:
        await self.controller.run()

    def __panel__(self) -> Viewable:
        """Return the widgets in the order in which a task is composed."""
        return pn.Column(
            self._models,
            self._classes,
            self._image,
            self._methods,
            self._options,
            self._target,
            self._target_class,
            self._threshold,
            self._measure,
            self._run,
            self._cancel,
            self._bar,
            self._say,
            sizing_mode="stretch_width",
            css_classes=["vac-task"],
        )
