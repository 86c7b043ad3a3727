"""D: what the models look at (paper section 5.3): pictures to choose from, then a table of explanations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import panel as pn
import param

from vacpanel import methods, render, serving
from vacpanel.ahead import Ahead
from vacpanel.controller import ASKED, Controller, Row, Task
from vacpanel.explained import rows_frame
from vacpanel.media import by_address
from vacpanel.notebook import afterwards, hold
from vacpanel.views import figures
from vacpanel.views.base import View
from vacpanel.views.map_rows import MapRows, columns_of, key_of
from vacpanel.views.map_table import MapTable
from vacpanel.views.maps import MapGallery, commit_threshold, group_of
from vacpanel.views.queries import among
from vacpanel.views.shown import show
from vacpanel.views.strip import ImageStrip
from vacpanel.views.text import EMPTY_CSS, line
from vacpanel.words import count
from warehouse.predicate import literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl
    from panel.viewable import Viewable

    from etl.explain.requests import Explanation
    from vacpanel.state import Selection
    from warehouse import Warehouse

THUMB = 96  # px; originals in the strip
DRAWN = 225  # px; the same in the view's SVG
IMAGES_AT_ONCE = 48  # in the strip; as many more each time that more are asked for


class Explanations(View):
    """Before a task: the images of the selected classes. After: one row a map, streaming in as maps finish."""

    title: ClassVar[str] = "Visual explanations"
    slot: ClassVar[str] = "D"
    help_text: ClassVar[str] = (
        "Bright regions are what a model looked at when it chose its answer. Contour lines stand at 25, 50 and 75 % "
        "of its highest attention; below the threshold the heatmap is dimmed, and the region shows what is left. "
        "Click a picture to see its row large, with Ctrl or Shift to choose several images."
    )

    def __init__(self, warehouse: Warehouse, state: Selection | None = None, **params: Any) -> None:
        super().__init__(warehouse, state, **params)
        self.controller = Controller.of(warehouse, self.state)
        self._media = serving.media_of(warehouse)
        self._wanted = IMAGES_AT_ONCE
        self._due = False
        self._strip = ImageStrip(sizing_mode="stretch_width", margin=(0, 8))
        self._strip.param.watch(self._picked, "selected")
        self._strip.on_more(self._more)
        self._hint = line("", EMPTY_CSS, sizing_mode="stretch_width", margin=(16, 20, 10, 20))
        maps: dict[str, Any] = {"group": group_of(self.state), "threshold": self.state.threshold}
        self._says = line("", margin=(0, 12), sizing_mode="stretch_width")
        self._examples = MapGallery(sizing_mode="stretch_width", margin=(2, 12), **maps)
        self._table = MapTable(sizing_mode="stretch_both", min_height=200, margin=(2, 6), **maps)
        self._table.on_pin(self._pin)
        for shown in (self._examples, self._table):
            shown.on_msg(lambda event: commit_threshold(self.state, event))
        self._body = pn.Column(
            self._strip,
            self._hint,
            self._says,
            self._examples,
            self._table,
            sizing_mode="stretch_both",
            min_height=120,
            styles={"overflow-y": "auto"},
        )
        self._shown: list[Row] = []
        self._example_maps: list[tuple[str, str, str, int]] = []  # method, digest, model and image
        self._example_says = ""
        self._ahead = Ahead(self.warehouse, self._expect_maps)
        self.controller.param.watch(self._rows_changed, "rows")
        self._load()

    # -- the rows behind it -----------------------------------------------------------------------------------------

    def sql(self) -> str:
        """Return the query for the images of the selected classes; after a task, for the maps of the table.

        The relation `explanations` holds a map from the next publish on.
        """
        if self._shown:
            digests = among("digest", (row.digest for row in self._shown if row.digest))
            return f"SELECT * FROM explanations WHERE {digests} ORDER BY image_id, model, method"
        met = f"SELECT image_id FROM predictions WHERE {self.where.sql()}"
        chosen = among("i.class_id", self.state.classes)
        return (
            "SELECT i.image_id, path, i.class_id, class_name, root_class, width, height, model, predicted_class_id,"
            " confidence, correct FROM images AS i JOIN classes AS c ON c.class_id = i.class_id"
            f" LEFT JOIN predictions AS p ON p.image_id = i.image_id AND model = {literal(self.state.model)}"
            f" WHERE {chosen}{f' AND i.image_id IN ({met})' if self.where else ''} ORDER BY i.class_id, i.image_id"
        )

    def data(self) -> pl.DataFrame:
        """Return the answer to `sql`; after a task the rows of the table, published or not."""
        return rows_frame(self._shown) if self._shown else super().data()

    def svg(self, shown: Sequence[str] = ()) -> str:
        """Return the pictures to choose from and the examples; after a task the table, in the order of the page."""
        if self._shown:
            rows = {key_of(row): row for row in self._shown}
            chosen = [rows[key] for key in shown if key in rows] or list(rows.values())
            said = [(row, self._row_says.whole(row)) for row in chosen]
            return figures.table(self.warehouse, self.heading, columns_of(self._shown), said, self.state.threshold)
        pictures = [(item["title"], self._media.original(item["id"], DRAWN)) for item in self._strip.items]
        note = ""
        if self._example_maps:
            model, image_id = self._example_maps[0][2:]
            row = self.warehouse.model_row(model)
            picture = self._media.picture(image_id, row.key)
            maps = [(method, self._media.maps.get(digest)) for method, digest, *_ in self._example_maps]
            pictures.append(("the image", render.enlarged(picture)))
            pictures += [
                (methods.title(method), render.overlay(picture, stored.map, self.state.threshold))
                for method, stored in maps
                if stored is not None
            ]
            note = f"The last {len(maps) + 1}: how each method explains {row.label} on one image."
        return figures.gallery(self.heading, pictures, note if self._strip.items else self._example_says)

    def act(self, page: str) -> tuple[str, str, bytes]:
        """Return the comparison as one HTML file that opens anywhere."""
        from vacpanel.report import report

        text = report(self.warehouse, self.state, self._shown, page)
        return "vacpanel-report.html", "text/html", text.encode()

    # -- before a task ----------------------------------------------------------------------------------------------

    @param.depends("state.generation", watch=True)
    def _load(self) -> None:
        """Read what only changes with the warehouse."""
        classes = self.warehouse.classes()
        self._names = dict(zip(map(int, classes["class_id"]), map(str, classes["class_name"]), strict=True))
        self._row_says = MapRows(self.warehouse, self.state, self._names)
        self._show_examples()
        self._choice_changed()

    def _show_examples(self) -> None:
        """Show what each method makes of the image that most methods have explained, the pinned example of the ETL."""
        found = self.warehouse.sql(
            """
            WITH newest AS (
              SELECT model, image_id, method, arg_max(digest, created_at) AS digest FROM explanations GROUP BY ALL
            ), best AS (
              SELECT model, image_id FROM newest GROUP BY ALL ORDER BY count(*) DESC, image_id LIMIT 1
            )
            SELECT method, digest, model, image_id FROM newest JOIN best USING (model, image_id)
            """
        ).fetchall()
        known = list(methods.choices().values())
        found = [example for example in found if self._media.maps.get(example[1])]  # the store forgets maps when full
        self._example_maps = found
        if not found:
            self._examples.items = []
            return
        found.sort(key=lambda example: known.index(example[0]) if example[0] in known else len(known))
        model, image_id = found[0][2:]
        row = self.warehouse.model_row(model)
        picture = self._media.seen(image_id, row.key)
        pictures = [{"caption": "the image", "picture": picture}]
        pictures += [
            {"caption": methods.title(method), "picture": picture, "layers": self._media.layers(digest)}
            for method, digest, *_ in found
        ]
        self._examples.items = pictures
        self._says.object = ""
        self._example_says = f"How each method explains {row.label} on one image:"

    @param.depends("state.classes", "state.filter", watch=True)
    def _choice_changed(self) -> None:
        self._wanted = IMAGES_AT_ONCE
        if not self._due:
            self._due = True
            afterwards(self._follow_choice)

    def _follow_choice(self) -> None:
        self._due = False
        with hold():
            self._fill_strip()
            self._arrange()

    def _more(self) -> None:
        self._wanted += IMAGES_AT_ONCE
        with hold():
            self._fill_strip()
            self._arrange()

    def _fill_strip(self) -> None:
        """Show images of the selected classes, class by class, as many as are wanted."""
        items: list[dict[str, Any]] = []
        if self.state.classes:
            found = self.warehouse.images_of_classes(self.state.classes, self._wanted + 1, self.where)
            for image_id, path, class_id in zip(
                *(found[n].tolist() for n in ("image_id", "path", "class_id")), strict=True
            ):
                title = f"{self._names.get(class_id, class_id)}: {path}"
                items.append({"id": image_id, "src": self._media.image(image_id, THUMB), "title": title})
        more, items = len(items) > self._wanted, items[: self._wanted]
        changed = {} if items == self._strip.items else {"items": items}
        self._strip.param.update(more=more, selected=list(self.state.images), marks=self._marks(items), **changed)

    @param.depends("state.model", watch=True)
    def _mark(self) -> None:
        self._strip.marks = self._marks(self._strip.items)

    def _marks(self, items: list[dict[str, Any]]) -> dict[str, bool]:
        """Return on which images the pinned model is right, and on which it is wrong."""
        if not items or not self.state.model:
            return {}
        query = "SELECT image_id, correct FROM predictions WHERE model = ? AND list_contains(?::INTEGER[], image_id)"
        found = self.warehouse.sql(query, [self.state.model, [item["id"] for item in items]]).fetchall()
        return {str(image_id): right for image_id, right in found}

    def _picked(self, event: param.parameterized.Event) -> None:
        if list(event.new) != self.state.images:
            with hold():
                self.state.images = list(event.new)
            serving.explain_soon(self.warehouse)

    @param.depends("state.images", watch=True)
    def _images_changed(self) -> None:
        if self._strip.selected != self.state.images:
            self._strip.selected = list(self.state.images)

    @param.depends("state.threshold", watch=True)
    def _threshold_changed(self) -> None:
        self._examples.threshold = self._table.threshold = self.state.threshold

    # -- what is shown ----------------------------------------------------------------------------------------------

    def _arrange(self) -> None:
        """Show what fits the state: images to choose from, and the table or what to do to get one."""
        rows, images = bool(self._shown), bool(self._strip.items)
        examples = bool(self._examples.items) and not rows
        with hold():
            self._strip.side = 40 if rows else 64
            self._hint.object = self._next_step()
            self._says.object = self._example_says if examples else ""
            for part, there in (
                (self._strip, images),
                (self._hint, not rows),
                (self._says, examples),
                (self._examples, examples),
                (self._table, rows),
            ):
                show(part, there)
            self._say()

    def _next_step(self) -> str:
        if not len(self.warehouse.models()["model"]):
            return "No model has been run yet."
        if not self.state.classes:
            return "Tap a class (a bar, or a point of the distribution graph) to see its images here."
        if not self._strip.items:
            one = len(self.state.classes) == 1
            what = "The selected class has" if one else "The selected classes have"
            return f"{what} no images {'that the filter leaves' if self.where else 'in this warehouse'}."
        return "Pick an image, tick models on the left and press the button there to see what each model looked at."

    def _say(self) -> None:
        if self._shown:
            given = self.state.parameters
            used = dict.fromkeys(row.method for row in self._shown)
            how = ", ".join(methods.described(method, given.get(method, {})) for method in used)
            self.heading = f"What the models look at: {how}, explaining {self._target()}"
        elif self._strip.items:
            classes = self.state.classes
            of = f"“{self._names.get(classes[0], '')}”" if len(classes) == 1 else count(len(classes), "class")
            shown = count(len(self._strip.items), "image")
            self.heading = f"Images of {of}: {shown}{' and more' if self._strip.more else ''}"
        else:
            self.heading = self.title

    def _target(self) -> str:
        target = self.state.target_class
        return f"“{self._names.get(target, target)}”" if isinstance(target, int) else f"the {target} class"

    # -- before the button is pressed -------------------------------------------------------------------------------

    @param.depends(*(f"state.{name}" for name in ASKED), watch=True)
    def _expect_task(self) -> None:
        """Look for maps of the next task, once images are picked."""
        task = self.controller.task() if self.state.images and by_address() else Task()
        self._ahead.expect(task, *self.controller.how())

    def _expect_maps(self, found: list[Explanation]) -> None:
        """Have the page fetch the pictures of maps that the store has."""
        keys = {model: self.warehouse.model_row(model).key for model in {map_.model for map_ in found}}
        with hold():
            self._table.expect(
                [
                    {
                        "picture": self._media.seen(map_.image_id, keys[map_.model]),
                        "layers": self._media.layers(map_.digest),
                    }
                    for map_ in found
                    if map_.map.any()
                ]
            )

    # -- the table --------------------------------------------------------------------------------------------------

    def _rows_changed(self, event: param.parameterized.Event) -> None:
        rows, before = list(event.new), self._shown
        self._shown = rows
        with hold():
            self.action = "Export" if any(row.digest for row in rows) else ""
            if list(map(key_of, rows)) == list(map(key_of, before)):
                changed = [row for row, old in zip(rows, before, strict=True) if row is not old]
                if changed:
                    self._table.show({key_of(row): self._row_says.changing(row) for row in changed})
                return
            columns = columns_of(rows)
            if rows and columns != self._table.columns:
                self._table.columns = columns
            self._table.show_all({key_of(row): self._row_says.whole(row) for row in rows})
            if bool(rows) != bool(before):
                self._arrange()
            self._say()

    def _pin(self, key: str) -> None:
        model = next(row.model for row in self._shown if key_of(row) == key)
        if self.state.model != model:
            with hold():
                self.state.model = model

    def body(self) -> Viewable:
        """Return thumbnails and table."""
        return self._body
