"""The distribution graph of single images, of any number: a picture of all points, drawn by datashader."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import holoviews as hv
import numpy as np
import panel as pn

from vacpanel import notices, serving
from vacpanel.notebook import hold
from vacpanel.palette import NEUTRAL, root_colors
from vacpanel.views.live import LiveSource, quiet_toolbar, square_units
from vacpanel.views.text import card
from vacpanel.words import count

if TYPE_CHECKING:
    from collections.abc import Callable

    from panel.viewable import Viewable

    from warehouse import Warehouse
    from warehouse.predicate import Predicate

LIMIT = 2.1  # half the side of the square in sight at first, in root mean square radii
RESOLUTION = 360  # px; every zoom sends a picture of this side
NEAR = 0.03  # of the side in sight: how close the pointer has to be to an image to be shown it
MOST_CHOSEN = 500  # images of a lasso that become a condition; a link has to hold them


class ImageGraph:
    """Images in the plane, coloured by root class; the one under the pointer is shown.

    Parameters
    ----------
    warehouse
        The open warehouse.
    tapped
        Called with the class and the image that were tapped.
    brushed
        Called with the images in a lasso.
    """

    def __init__(
        self, warehouse: Warehouse, tapped: Callable[[int, int], None], brushed: Callable[[list[int]], None]
    ) -> None:
        self.warehouse = warehouse
        self._media = serving.media_of(warehouse)
        self._tapped, self._brushed = tapped, brushed
        self._picture, self._ring = LiveSource(), LiveSource()
        self._bounds = (-LIMIT, LIMIT, -LIMIT, LIMIT)
        self._model = ""
        self._shown_image = -1
        self._points = self._frame("", None)
        self._card = pn.pane.HTML("", styles=_corner(below=True))
        self._turn = 0  # of the picture that was asked for last
        self._painted = False
        self.pane: Viewable | None = None

    def show(self, model: str, where: Predicate) -> str:
        """Show the images in the eyes of one model (of all where empty) under a filter; return what is shown."""
        self._model = model
        self._points = self._frame(model, where)
        self._mark(None)
        if self.pane is None:
            self.pane = pn.Column(
                pn.pane.HoloViews(self._draw(), sizing_mode="stretch_both", linked_axes=False),
                self._card,
                sizing_mode="stretch_both",
                min_height=120,
                margin=0,
                styles={"position": "relative"},
            )
        self._paint()
        return count(len(self._points["x"]), "point" if not model else "image")

    def _frame(self, model: str, where: Predicate | None) -> dict[str, Any]:
        if where is None:
            return {name: np.empty(0) for name in ("x", "y", "image_id", "class_id", "model_id")}
        points = self.warehouse.image_points(model, where)
        classes = self.warehouse.classes()
        roots = self.warehouse.roots()
        root_of = np.array([roots.index(str(root)) for root in classes["root_class"]], dtype=np.int16)
        # t-SNE's coordinates have no unit: every model's images are shown at one size.
        square = points["x"].astype(np.float64) ** 2 + points["y"].astype(np.float64) ** 2
        models = int(points["model_id"].max(initial=-1)) + 1
        sums = np.bincount(points["model_id"], square, minlength=models)
        radius = np.sqrt(sums / np.maximum(np.bincount(points["model_id"], minlength=models), 1))
        radius = np.where(radius > 0, radius, 1.0)[points["model_id"]]
        return {
            **points,
            "x": (points["x"] / radius).astype(np.float32),
            "y": (points["y"] / radius).astype(np.float32),
            "root": root_of[points["class_id"]],
        }

    def _draw(self) -> Any:
        picture = hv.RGB(np.zeros((2, 2, 4), np.uint8), bounds=(-LIMIT, -LIMIT, LIMIT, LIMIT)).opts(
            hooks=[self._picture.hook],
            tools=["tap", "lasso_select"],
        )
        ring = hv.Points(self._ring_data(None), ["x", "y"]).opts(
            fill_alpha=0, line_color=NEUTRAL, line_width=2, size=12, hooks=[self._ring.hook], default_tools=[]
        )
        hv.streams.RangeXY(source=picture).add_subscriber(self._zoomed)
        hv.streams.PointerXY(source=picture).add_subscriber(self._pointed)
        hv.streams.Tap(source=picture).add_subscriber(self._chosen)
        hv.streams.Lasso(source=picture).add_subscriber(self._circled)
        return (picture * ring).opts(
            xlim=(-LIMIT, LIMIT),
            ylim=(-LIMIT, LIMIT),
            xaxis=None,
            yaxis=None,
            responsive=True,
            min_height=160,
            toolbar="right",
            hooks=[quiet_toolbar, square_units(LIMIT, LIMIT)],
            default_tools=["pan", "wheel_zoom", "box_zoom", "reset"],
            active_tools=["wheel_zoom"],
        )

    def _paint(self) -> None:
        """Shade the points beside the event loop: millions take a while, and the first ones have datashader compile."""
        self._turn += 1
        turn = self._turn
        if not self._painted:
            self._card.object = card("Drawing the points \N{HORIZONTAL ELLIPSIS}")

        async def paint() -> None:
            columns = await asyncio.to_thread(self._shaded)
            if turn == self._turn:
                # With the document's lock: without, nothing may be changed on a page that is still being opened.
                pn.state.execute(partial(self._show_picture, turn, columns), schedule=True)

        pn.state.execute(paint)

    def _show_picture(self, turn: int, columns: dict[str, Any]) -> None:
        if turn != self._turn:
            return
        self._picture.patch(**columns)
        if not self._painted:
            self._painted = True
            if self._shown_image < 0:
                self._card.object = ""

    def _shaded(self) -> dict[str, Any]:
        """Return the columns of an ImageRGBA glyph: the points in sight, coloured by root class."""
        import datashader as ds
        import pandas as pd
        from datashader import transfer_functions as tf

        x0, x1, y0, y1 = self._bounds
        points = self._points
        inside = (points["x"] >= x0) & (points["x"] <= x1) & (points["y"] >= y0) & (points["y"] <= y1)
        names = self.warehouse.roots()
        place = {"x": [x0], "y": [y0], "dw": [x1 - x0], "dh": [y1 - y0]}
        if not inside.any():
            return {"image": [np.zeros((2, 2), np.uint32)], **place}
        frame = pd.DataFrame(
            {
                "x": points["x"][inside],
                "y": points["y"][inside],
                "root": pd.Categorical.from_codes(points["root"][inside], names),
            }
        )
        canvas = ds.Canvas(RESOLUTION, RESOLUTION, x_range=(x0, x1), y_range=(y0, y1))
        counted = canvas.points(frame, "x", "y", agg=ds.by("root", ds.count()))
        shaded = tf.shade(counted, color_key=root_colors(names), how="eq_hist", min_alpha=120)
        wide = next((px for px, most in ((3, 2_000), (2, 10_000), (1, 60_000)) if inside.sum() <= most), 0)
        return {"image": [np.ascontiguousarray(tf.spread(shaded, px=wide).data)], **place}

    def _zoomed(self, x_range: tuple[float, float] | None, y_range: tuple[float, float] | None) -> None:
        if x_range is None or y_range is None:
            return
        bounds = tuple(map(float, (*x_range, *y_range)))
        if bounds != self._bounds and np.isfinite(bounds).all():
            self._bounds = bounds  # type: ignore[assignment]
            self._paint()

    def _nearest(self, x: float | None, y: float | None) -> int | None:
        """Return the row of the point next to a place, None if none is near."""
        points = self._points
        if x is None or y is None or not len(points["x"]):
            return None
        square = (points["x"] - x) ** 2 + (points["y"] - y) ** 2
        row = int(square.argmin())
        side = self._bounds[1] - self._bounds[0]
        return row if square[row] <= (NEAR * side) ** 2 else None

    def _pointed(self, x: float | None, y: float | None) -> None:
        self._mark(self._nearest(x, y))

    def _mark(self, row: int | None) -> None:
        """Ring a point and show its image."""
        image_id = -1 if row is None else int(self._points["image_id"][row])
        if image_id == self._shown_image:
            return
        self._shown_image = image_id
        if self.pane is not None:
            self._ring.patch(**self._ring_data(row))
        if row is None:
            self._card.object = ""
            return
        image = self.warehouse.image(image_id)
        # All models share one plane when none is chosen; the point says whose it is.
        model = self._model or str(self.warehouse.models()["model"][int(self._points["model_id"][row])])
        said = self.warehouse.predictions([model], [image_id])
        lines = [f"{image.class_name} ({image.root_class})"]
        if len(said["model"]):
            sign = "✓" if said["correct"][0] else "✗"
            answer = f"{said['predicted_class_name'][0]}, {said['confidence'][0]:.0%}"
            lines.append(f"{said['label'][0]}: {sign} {answer}")
        # In the half where the pointer is not: it would lie upon the points that are looked at.
        below = self._points["y"][row] > (self._bounds[2] + self._bounds[3]) / 2
        self._card.param.update(
            object=card(*lines, src=self._media.image(image_id, 96)), styles=_corner(below=bool(below))
        )

    def _ring_data(self, row: int | None) -> dict[str, Any]:
        at = [] if row is None else [row]
        return {
            "x": np.asarray(self._points["x"], dtype=float)[at],
            "y": np.asarray(self._points["y"], dtype=float)[at],
        }

    def _chosen(self, x: float | None, y: float | None) -> None:
        row = self._nearest(x, y)
        if row is not None:
            with hold():
                self._tapped(int(self._points["class_id"][row]), int(self._points["image_id"][row]))

    def _circled(self, geometry: Any) -> None:
        from skimage.measure import points_in_poly

        if geometry is None or len(geometry) < 3:
            return
        inside = points_in_poly(np.column_stack([self._points["x"], self._points["y"]]), np.asarray(geometry))
        chosen = np.unique(self._points["image_id"][inside])
        if not len(chosen):
            return
        if len(chosen) > MOST_CHOSEN:
            notices.say(f"The lasso holds {count(len(chosen), 'image')}; draw it around at most {MOST_CHOSEN}.")
            return
        with hold():
            self._brushed([int(image) for image in chosen])


def _corner(*, below: bool) -> dict[str, str]:
    """Return the styles of something in the lower or the upper left corner that pointers go through."""
    place = {"bottom": "6px", "top": "auto"} if below else {"bottom": "auto", "top": "6px"}
    return {"position": "absolute", "left": "6px", "z-index": "2", "pointer-events": "none", **place}
