"""B: the distribution graph, classes laid out by how the pinned model confuses them (paper section 4.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import panel as pn
import param

from vacpanel.palette import root_colors
from vacpanel.views.base import View
from vacpanel.views.chips import Chips
from vacpanel.views.class_graph import ClassGraph
from vacpanel.views.image_graph import ImageGraph
from vacpanel.views.queries import among, rates
from vacpanel.views.shown import show
from vacpanel.views.text import HIDDEN_LABEL_CSS, empty
from warehouse.predicate import literal

if TYPE_CHECKING:
    from panel.viewable import Viewable

    from vacpanel.state import Selection
    from warehouse import Warehouse

GRAPHS = {"Classes": "classes", "Images": "images", "Images, all models": "all-images"}
COMPARISONS = {"beside it": "beside", "as movement": "movement"}
NO_SECOND = "compare with …"
SMALL: dict[str, Any] = {"sizing_mode": "stretch_width", "margin": (0, 3), "stylesheets": [HIDDEN_LABEL_CSS]}


class Distribution(View):
    """t-SNE of the class distances (Algorithm 1) of the pinned model; beside it, on request, of a second one.

    On request single images in its place: t-SNE of their penultimate features.
    """

    title: ClassVar[str] = "Distribution graph"
    slot: ClassVar[str] = "B"
    help_text: ClassVar[str] = (
        "Each point is a class; classes that the pinned model takes for one another lie close together. Colours are "
        "root classes as people sort them: where colours mix, the model sees it differently. Tap a point to select the "
        "class, draw a lasso to keep only some; choose a second model to see which classes it moves elsewhere."
    )
    own: ClassVar[tuple[str, ...]] = ("models", "classes", "images")

    def __init__(self, warehouse: Warehouse, state: Selection | None = None, **params: Any) -> None:
        super().__init__(warehouse, state, **params)
        self._first = ClassGraph(warehouse, self.state, self.state.select_class, self._brushed)
        self._second = ClassGraph(warehouse, self.state, self.state.select_class, self._brushed)
        self._images = ImageGraph(warehouse, self._image_tapped, self._images_brushed)
        self._panes = [
            pn.pane.HoloViews(None, sizing_mode="stretch_both", linked_axes=False, margin=0) for _ in range(2)
        ]
        self._legend = Chips(sizing_mode="stretch_width", margin=(0, 6))
        self._legend.on_click(self._chip_clicked)
        self._box = pn.Row(sizing_mode="stretch_both", min_height=120, margin=0)
        self._points = pn.widgets.Select.from_param(self.state.param.graph, label="Points", options=GRAPHS, **SMALL)
        self._other = pn.widgets.Select(label="Second model", **SMALL)
        self._other.param.watch(self._other_chosen, "value")
        self._how = pn.widgets.Select.from_param(
            self.state.param.comparison, label="Show the second model", options=COMPARISONS, **SMALL
        )
        self.redraw()

    def sql(self) -> str:
        """Return the query for what the points stand for: t-SNE coordinates as they are in the warehouse."""
        state = self.state
        if state.graph == "classes":
            models = among("l.model", [name for name in (state.model, state.second) if name])
            return (
                "SELECT l.model, l.class_id, c.class_name, c.root_class, x, y, r.* EXCLUDE (model, class_id)"
                " FROM class_layout AS l JOIN classes AS c ON c.class_id = l.class_id"
                f" LEFT JOIN ({rates(self.where, 'model', 'class_id')}) AS r"
                " ON r.model = l.model AND r.class_id = l.class_id"
                f" WHERE {models} ORDER BY l.model, l.class_id"
            )
        where = state.filter.without("models") if state.graph == "images" else state.filter
        of = f"model = {literal(state.model)} AND " if state.graph == "images" else ""
        return (
            "SELECT l.model, l.image_id, i.class_id, x, y, i.path FROM image_layout AS l"
            f" JOIN images AS i ON i.image_id = l.image_id WHERE (l.model, l.image_id) IN"
            f" (SELECT (model, image_id) FROM predictions WHERE {of}{where.sql()}) ORDER BY l.model, l.image_id"
        )

    def body(self) -> Viewable:
        """Return the graph between its choosers and its legend."""
        choosers = pn.Row(self._points, self._other, self._how, margin=(0, 6), sizing_mode="stretch_width")
        return pn.Column(choosers, self._box, self._legend, sizing_mode="stretch_both", margin=0)

    @param.depends("state.generation", watch=True)
    def redraw(self) -> None:
        """Draw from the warehouse again."""
        self._drawn = [False, False]
        table = self.warehouse.models()
        self._labels = dict(zip(map(str, table["model"]), map(str, table["label"]), strict=True))
        self._other.options = {NO_SECOND: ""} | {label: model for model, label in self._labels.items()}
        self._legend.items = root_colors(self.warehouse.roots())
        self._limit = self._common_limit()
        self._arrange()

    @param.depends("state.graph", "state.comparison", "state.second", watch=True)
    def _arrange(self) -> None:
        """Put what is asked for in its place."""
        self._legend.chosen = self.state.root
        second = self.state.second if self.state.second in self._labels else ""
        self._other.value = second
        of_classes = self.state.graph == "classes"
        show(self._other, of_classes)
        show(self._how, of_classes and bool(second))
        shown = self._arranged()
        if list(self._box) != shown:
            self._box[:] = shown

    def _arranged(self) -> list[Any]:
        """Return what is in the box now."""
        model, graph = self.state.model, self.state.graph
        self.heading = self.title
        if not self._labels:
            return [empty("No model has been run yet.")]
        if graph != "all-images" and model not in self._labels:
            return [empty("Tap a model in the scatter to see how it groups the classes.")]
        if graph != "classes":
            of = model if graph == "images" else ""
            said = self._images.show(of, self.state.filter.without("models") if of else self.state.filter)
            self.heading = f"How {self._labels[of] if of else 'all models'} see{'s' if of else ''} the images, {said}"
            return [self._images.pane]
        if not self._show(0, model):
            return [empty("This model's layout is not computed yet; it appears when the ETL has finished.")]
        second = self.state.second if self.state.second in self._labels else ""
        self.heading = f"How {self._labels[model]} groups the classes"
        movement = self.state.comparison == "movement"
        if second:
            self._second.load(second)
            self.heading = f"{self._labels[model]} {'to' if movement else 'and'} {self._labels[second]}"
        self._first.show_moves(self._second if second and movement else None)
        if second and not movement and self._show(1, second):
            return list(self._panes)
        return self._panes[:1]

    def _show(self, place: int, model: str) -> bool:
        """Show a model's classes in one of the two places; return whether it has a layout."""
        graph = (self._first, self._second)[place]
        other = graph.load(model)
        if not len(graph.class_id):
            self._drawn[place] = False
            return False
        if other or not self._drawn[place]:
            self._panes[place].object = graph.draw(self.tally, self._limit)
            self._drawn[place] = True
        else:
            graph.follow_model(self.tally)
        return True

    @property
    def _visible(self) -> list[ClassGraph]:
        """The graphs of classes that are on the screen."""
        if self.state.graph != "classes":
            return []
        shown = [pane in list(self._box) for pane in self._panes]
        return [graph for graph, seen in zip((self._first, self._second), shown, strict=True) if seen]

    @param.depends("state.model", watch=True)
    def _model_changed(self) -> None:
        if self.state.graph != "all-images":
            self._arrange()

    @param.depends("state.root", watch=True)
    def _root_changed(self) -> None:
        self._legend.chosen = self.state.root
        for graph in self._drawn_graphs():
            graph.follow_root()

    @param.depends("state.classes", watch=True)
    def _classes_changed(self) -> None:
        for graph in self._drawn_graphs():
            graph.follow_classes()

    @param.depends("state.filter", watch=True)
    def _filter_changed(self) -> None:
        for graph in self._drawn_graphs():
            graph.follow_filter(self.tally)
        if self.state.graph != "classes":
            self._arrange()

    def _drawn_graphs(self) -> list[ClassGraph]:
        """Return the graphs that were drawn: one that is not on the screen now may come back."""
        return [graph for graph, drawn in zip((self._first, self._second), self._drawn, strict=True) if drawn]

    def _other_chosen(self, event: param.parameterized.Event) -> None:
        if event.new != self.state.second:
            self.state.second = event.new

    def _chip_clicked(self, root: str) -> None:
        self.state.root = "" if root == self.state.root else root

    def _brushed(self, classes: list[int]) -> None:
        self.state.param.update(
            classes=classes, images=[], filter=self.state.narrowed(classes=tuple(classes), images=())
        )

    def _image_tapped(self, class_id: int, image_id: int) -> None:
        self.state.param.update(classes=[class_id], images=[image_id])

    def _images_brushed(self, images: list[int]) -> None:
        self.state.filter = self.state.narrowed(images=tuple(images))

    def _common_limit(self) -> float:
        """Return half the side of the square that holds every model's layout, so that axes stay put between models."""
        query = """
            SELECT max(extent) FROM (
              SELECT max(greatest(abs(x), abs(y))) / sqrt(avg(x * x + y * y)) AS extent FROM class_layout GROUP BY model
            ) WHERE isfinite(extent)"""
        [(extent,)] = self.warehouse.sql(query).fetchall()
        return 1.08 * float(extent) if extent else 1.0
