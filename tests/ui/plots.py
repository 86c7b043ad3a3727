"""Hands and eyes for Bokeh plots: where a mark is on the screen, what a plot shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

_FIND = """
function* renderers() {
  for (const doc of Bokeh.documents)
    for (const model of doc._all_models.values())
      if (model.type === "Figure" && Bokeh.index.find_one_by_id(model.id))  // others were on the page once
        for (const renderer of model.renderers)
          if (renderer.data_source) yield [model, renderer]
}
function holds(renderer, columns) {
  const data = renderer.data_source.data
  return columns.every((name) => name.startsWith("!") ? !(name.slice(1) in data) : name in data)
}
"""


def mark(page: Page, columns: list[str], name: str, value: object) -> tuple[float, float] | None:
    """Return the screen position of the mark whose column `name` is `value`, in the plot with these `columns`."""
    return page.evaluate(
        f"""([columns, name, value]) => {{
        {_FIND}
        for (const [figure, renderer] of renderers()) {{
          if (!holds(renderer, columns)) continue
          const data = renderer.data_source.data
          const i = Array.from(data[name]).indexOf(value)
          const view = Bokeh.index.find_one_by_id(figure.id)
          if (i < 0 || !view) continue
          const x = "left" in data ? (data.left[i] + data.right[i]) / 2 : data.x[i]
          const y = "left" in data ? (data.bottom[i] + data.top[i]) / 2 : data.y[i]
          const box = view.canvas_view.el.getBoundingClientRect()
          return [box.x + view.frame.x_scale.compute(x), box.y + view.frame.y_scale.compute(y)]
        }}
        return null
      }}""",
        [columns, name, value],
    )


def column(page: Page, columns: list[str], name: str) -> list:
    """Return the column `name` of the plot with these `columns`."""
    return page.evaluate(
        f"""([columns, name]) => {{
        {_FIND}
        for (const [figure, renderer] of renderers())
          if (holds(renderer, columns)) return Array.from(renderer.data_source.data[name], (v) => v)
        return []
      }}""",
        [columns, name],
    )


def columns(page: Page, names: list[str]) -> list[dict]:
    """Return all columns, of every source in a plot that has these `names`."""
    return page.evaluate(
        f"""(names) => {{
        {_FIND}
        const found = []
        for (const [, renderer] of renderers())
          if (holds(renderer, names)) {{
            const {{ data }} = renderer.data_source
            found.push(Object.fromEntries(Object.keys(data).map((name) => [name, Array.from(data[name], (v) => v)])))
          }}
        return found
      }}""",
        names,
    )


def place(page: Page, names: list[str], x: float, y: float) -> tuple[float, float] | None:
    """Return where (x, y) is on the screen, in the plot with these columns."""
    return page.evaluate(
        f"""([names, x, y]) => {{
        {_FIND}
        for (const [figure, renderer] of renderers()) {{
          const view = holds(renderer, names) && Bokeh.index.find_one_by_id(figure.id)
          if (!view) continue
          const box = view.canvas_view.el.getBoundingClientRect()
          return [box.x + view.frame.x_scale.compute(x), box.y + view.frame.y_scale.compute(y)]
        }}
        return null
      }}""",
        [names, x, y],
    )


def steady(page: Page, columns: list[str], name: str, value: object) -> tuple[float, float]:
    """Return the screen position of a mark once it is there and stands still."""
    page.wait_for_function("window.Bokeh && Bokeh.documents.length > 0")
    before = None
    for _ in range(100):
        position = mark(page, columns, name, value)
        if position is not None and position == before:
            return position
        before = position
        page.wait_for_timeout(200)
    raise AssertionError(f"no mark with {name} = {value!r}")


def tap(page: Page, columns: list[str], name: str, value: object) -> None:
    """Click on a mark as a person does: once it is there and stands still."""
    x, y = steady(page, columns, name, value)
    page.mouse.move(x - 3, y - 3)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.up()


def span(page: Page, columns: list[str]) -> float:
    """Return how much of the y axis is in sight in the plot with these `columns`."""
    return page.evaluate(
        f"""(columns) => {{
        {_FIND}
        for (const [figure, renderer] of renderers())
          if (holds(renderer, columns)) return figure.y_range.end - figure.y_range.start
        return NaN
      }}""",
        columns,
    )


def thickest_line(page: Page) -> str | None:
    """Return the model whose polygon in the radar is drawn thickest."""
    return page.evaluate(
        f"""() => {{
        {_FIND}
        let best = null
        for (const [, renderer] of renderers())
          if (renderer.glyph.type === "MultiLine" && renderer.data_source.data.model)
            if (!best || renderer.glyph.line_width.value > best.glyph.line_width.value) best = renderer
        return best && best.data_source.data.model[0]
      }}"""
    )


# The columns by which the tests know a plot; those behind "!" it must not have.
SCATTER = ["model", "label", "family", "top1"]
RADAR_LINES = ["xs", "ys", "model", "color", "alpha"]
RADAR_DOTS = ["root", "images", "size", "!model"]
MODEL_BARS = ["class_id", "top1", "left", "!own"]
ROOT_BARS = ["class_id", "top1", "left", "own"]
GRAPH = ["class_id", "row", "x", "y"]
SPREAD = ["class_id", "mean_top1", "models", "left"]
ON_CLASSES = ["label", "class_name", "images", "x"]


def use_tool(page: Page, view: str, tool: str) -> None:
    """Choose a tool of a plot, in the toolbar that comes when the pointer does."""
    box = page.locator(f".vac-{view} .bk-Figure").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=3)
    page.locator(f".vac-{view} .bk-OnOffButton[title='{tool}']").click()


def draw_around(page: Page, places: list[tuple[float, float]], room: float = 9) -> None:
    """Drag the pointer around places on the screen, clockwise and back to the start."""
    xs, ys = zip(*places, strict=True)
    left, right, top, bottom = min(xs) - room, max(xs) + room, min(ys) - room, max(ys) + room
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in ((right, top), (right, bottom), (left, bottom), (left, top)):
        page.mouse.move(x, y, steps=6)
    page.mouse.up()


def drag(page: Page, places: list[tuple[float, float]], room: float = 9) -> None:
    """Drag the pointer from one corner of the box around places to the other."""
    xs, ys = zip(*places, strict=True)
    page.mouse.move(min(xs) - room, min(ys) - room)
    page.mouse.down()
    page.mouse.move(max(xs) + room, max(ys) + room, steps=8)
    page.mouse.up()


def inside(page: Page, columns: list[str], name: str, places: list[tuple[float, float]], room: float = 9) -> list:
    """Return the values of a column whose marks are in the box around some places."""
    xs, ys = zip(*places, strict=True)
    found = []
    for value in column(page, columns, name):
        x, y = mark(page, columns, name, value) or (-1, -1)
        if min(xs) - room <= x <= max(xs) + room and min(ys) - room <= y <= max(ys) + room:
            found.append(value)
    return found


def inks(page: Page, names: list[str]) -> list[str]:
    """Return the colours in which the axes of a plot are labelled."""
    return page.evaluate(
        f"""(names) => {{
        {_FIND}
        for (const [figure, renderer] of renderers())
          if (holds(renderer, names)) {{
            const axes = [...figure.left, ...figure.below].filter((part) => part.type.endsWith("Axis"))
            return axes.map((axis) => axis.major_label_text_color)
          }}
        return []
      }}""",
        names,
    )


def pixels(page: Page) -> int:
    """Return how many pixels of the picture of all images are painted."""
    return page.evaluate(
        f"""() => {{
        {_FIND}
        for (const [, renderer] of renderers())
          if (renderer.data_source.data.image) return [...renderer.data_source.data.image[0]].filter(Boolean).length
        return 0
      }}"""
    )
