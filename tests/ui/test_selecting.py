"""Selections and filters as people make them: the filter bar, pickers, lassos, Back and Forward, saved views."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import duckdb
import pytest
from playwright.sync_api import Page, expect

from tests.ui import plots
from tests.ui.plots import GRAPH, MODEL_BARS, SCATTER
from tests.ui.steps import THUMBS, open_dashboard, rows, until, watch_clipboard
from vacpanel import link
from vacpanel.state import Selection
from warehouse.predicate import Predicate

CHIPS = ".bar .chips button"


@pytest.fixture
def dashboard(page: Page, server: str) -> Page:
    return open_dashboard(page, server)


def _state(page: Page) -> Selection:
    """Return the state that the address says."""
    state = Selection()
    assert link.read(urlsplit(page.url).query, state) == []
    return state


def _query(page: Page, key: str) -> str:
    return parse_qs(urlsplit(page.url).query, keep_blank_values=True)[key][0]


def test_the_filter_bar_says_what_counts_and_lifts_it_again(dashboard, demo_warehouse):
    page = dashboard
    chips, counted = page.locator(CHIPS), page.locator(".bar .counted")
    expect(chips).to_have_count(0)
    at_first = plots.column(page, SCATTER, "y")
    page.get_by_role("button", name="wrong ✗").click()
    expect(chips).to_have_text(["wrong answers"])
    page.get_by_label("Lowest confidence in percent").fill("30")
    page.get_by_label("Lowest confidence in percent").press("Enter")
    expect(chips).to_have_text(["wrong answers", "confidence 30% to 100%"])
    page.get_by_label("Highest confidence in percent").fill("90")
    page.get_by_label("Highest confidence in percent").press("Tab")
    page.locator("summary", has_text="root classes").click()
    page.get_by_role("checkbox", name="tool").check()
    page.get_by_role("checkbox", name="animal").check()
    page.keyboard.press("Escape")
    page.locator("summary", has_text=re.compile("^models$")).click()
    page.get_by_role("checkbox", name="alexnet").check()
    expect(chips).to_have_text(["alexnet", "animal, tool", "wrong answers", "confidence 30% to 90%"])

    # What is shown as SQL is what is copied, what the link says and what the number counts.
    where = Predicate(
        models=("demo:alexnet",), roots=("animal", "tool"), correct=False, min_confidence=0.3, max_confidence=0.9
    )
    until(page, lambda: _state(page).filter == where)
    page.locator(".bar details.sql summary").click()
    sql = f"SELECT * FROM predictions WHERE {where.sql()}"
    expect(page.locator(".bar details.sql code")).to_have_text(sql)
    watch_clipboard(page)
    page.locator(".bar details.sql button").click()
    expect(page.locator(".bar details.sql button")).to_have_text("copied")
    assert page.evaluate("copied") == sql
    [(left,)] = rows(demo_warehouse, f"SELECT count(*) FROM ({sql})")
    expect(counted).to_have_text(re.compile(rf"^{left} of 3.328 predictions$"))

    # The views count the same.
    expected = rows(
        demo_warehouse,
        "SELECT model, avg((NOT correct)::INT) FROM predictions"
        f" WHERE {where.without('models', 'correct').sql()} GROUP BY model ORDER BY model",
    )
    until(page, lambda: plots.column(page, SCATTER, "y") == pytest.approx([rate for _, rate in expected]))
    expect(page.get_by_text("Top-1 error against parameters")).to_be_visible()
    expect(page.get_by_text("Top-1 error by root class")).to_be_visible()

    # One condition is lifted, then all of them.
    page.get_by_role("button", name="confidence 30% to 90%").click()
    expect(chips).to_have_text(["alexnet", "animal, tool", "wrong answers"])
    expect(page.get_by_label("Lowest confidence in percent")).to_have_value("")
    page.get_by_role("button", name="clear filter").click()
    expect(chips).to_have_count(0)
    until(page, lambda: plots.column(page, SCATTER, "y") == at_first)
    expect(page.get_by_role("button", name="clear filter")).to_be_hidden()


def test_bounds_in_the_wrong_order_or_out_of_range_are_put_right(dashboard):
    low, high = (dashboard.get_by_label(f"{which} confidence in percent") for which in ("Lowest", "Highest"))
    low.fill("80")
    low.press("Enter")
    expect(dashboard.locator(CHIPS)).to_have_text(["confidence 80% to 100%"])
    high.fill("20")
    high.press("Enter")
    expect(dashboard.locator(CHIPS)).to_have_text(["confidence 20% to 80%"])
    expect(low).to_have_value("20")
    expect(high).to_have_value("80")
    high.fill("400")
    high.press("Enter")
    expect(dashboard.locator(CHIPS)).to_have_text(["confidence 20% to 100%"])
    expect(high).to_have_value("100")
    low.fill("37.4")
    low.press("Enter")
    expect(dashboard.locator(CHIPS)).to_have_text(["confidence 37% to 100%"])
    expect(low).to_have_value("37")
    expect(dashboard.locator(".sql code")).to_contain_text("confidence >= '0.37'")


def test_a_filter_that_leaves_nothing_is_said_and_reset_shows_the_start_again(dashboard):
    page = dashboard
    before = {
        (tuple(columns), name): plots.column(page, columns, name)
        for columns, name in ((SCATTER, "y"), (MODEL_BARS, "top1"), (GRAPH, "top1"))
    }
    start = page.url
    plots.tap(page, MODEL_BARS, "class_id", plots.column(page, MODEL_BARS, "class_id")[9])
    expect(page.locator(THUMBS)).to_have_count(4)
    low = page.get_by_label("Lowest confidence in percent")
    low.fill("100")
    low.press("Enter")
    high = page.get_by_label("Highest confidence in percent")
    high.fill("100")
    high.press("Enter")
    expect(page.locator(".bar .counted")).to_contain_text("of 3")
    page.get_by_role("button", name="Reset").click()
    expect(page.locator(CHIPS)).to_have_count(0)
    expect(page.locator(THUMBS)).to_have_count(0)
    for (columns, name), values in before.items():
        until(page, lambda c=columns, n=name, v=values: plots.column(page, list(c), n) == v)
    until(page, lambda: page.url == start)


def test_classes_are_found_by_a_few_letters_and_with_a_slip(dashboard):
    page = dashboard
    field = page.get_by_role("combobox", name="Classes")
    options = page.get_by_role("listbox", name="Classes").get_by_role("option")
    for typed, first in (("motor", "motorcycle"), ("mtrcycle", "motorcycle"), ("snwoflake", "snowflake")):
        field.fill(typed)
        expect(options.first.locator("span")).to_have_text(first)
    field.fill("qqqq")
    expect(options).to_have_count(0)
    expect(page.get_by_text("nothing fits")).to_be_visible()
    field.fill("snwoflake")
    field.press("Enter")
    expect(page.locator(".vac-task").get_by_role("button", name="Take out snowflake")).to_be_visible()
    expect(page.get_by_text("Models on “snowflake”, 4 images")).to_be_visible()
    # Two at once, and out again with the keyboard.
    field.fill("hippo")
    field.press("Enter")
    expect(page.get_by_text("Models on 2 classes, 4 images each")).to_be_visible()
    field.press("Backspace")
    expect(page.get_by_text("Models on “snowflake”, 4 images")).to_be_visible()


def _settled(page: Page, said: str) -> None:
    """Wait until the address says something, and until what follows is a step of its own."""
    until(page, lambda: said in page.url)
    page.wait_for_timeout(500)


def test_back_and_forward_undo_and_redo(dashboard):
    page = dashboard
    start = page.url
    plots.tap(page, SCATTER, "label", "mobilenet_v2")
    expect(page.get_by_text("Leaf classes of mobilenet_v2, best first")).to_be_visible()
    _settled(page, "model=demo:mobilenet_v2")
    page.locator(".vac-distribution button[data-name='vehicle']").click()
    expect(page.get_by_text("Leaf classes of “vehicle”", exact=False)).to_be_visible()
    _settled(page, "root=vehicle")
    page.get_by_role("button", name="right ✓").click()
    expect(page.locator(CHIPS)).to_have_text(["right answers"])
    _settled(page, "correct")
    end = page.url

    page.go_back()
    expect(page.locator(CHIPS)).to_have_count(0)
    expect(page.get_by_text("Leaf classes of “vehicle”", exact=False)).to_be_visible()
    page.go_back()
    expect(page.get_by_text("Leaf classes of “animal”", exact=False)).to_be_visible()
    expect(page.get_by_text("Leaf classes of mobilenet_v2, best first")).to_be_visible()
    page.go_back()
    expect(page.get_by_text("Leaf classes of resnet18, best first")).to_be_visible()
    until(page, lambda: page.url == start)
    for _ in range(3):
        page.go_forward()
    expect(page.locator(CHIPS)).to_have_text(["right answers"])
    expect(page.get_by_text("Leaf classes of mobilenet_v2, best first")).to_be_visible()
    expect(page.get_by_text("Leaf classes of “vehicle”", exact=False)).to_be_visible()
    until(page, lambda: page.url == end)


NAMES = ["plain", "<img src=x onerror=globalThis.ran=1>", '"it\'s" 👩‍🔬 עברית']


def test_views_are_saved_by_name_and_survive_the_session(browser, dashboard, server):
    page = dashboard
    plots.tap(page, SCATTER, "label", "alexnet")
    expect(page.get_by_text("Leaf classes of alexnet, best first")).to_be_visible()
    page.get_by_role("button", name="wrong ✗").click()
    expect(page.locator(CHIPS)).to_have_text(["wrong answers"])
    menu = page.locator(".saved")
    menu.locator("summary").click()
    try:
        for name in NAMES:
            menu.get_by_label("Name of this view").fill(name)
            menu.get_by_label("Name of this view").press("Enter")
            expect(menu.locator("li button:first-child").get_by_text(name, exact=True)).to_be_visible()
        assert page.evaluate("globalThis.ran") is None
        saved = page.url

        # Another session finds them, also after a reload.
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        other = context.new_page()
        menu = other.locator(".saved")
        for _ in range(2):
            open_dashboard(other, server)
            expect(other.get_by_text("Leaf classes of resnet18, best first")).to_be_visible(timeout=60_000)
            menu.locator("summary").click()
            expect(menu.locator("li button:first-child")).to_have_text(sorted(NAMES, key=str.casefold))
        menu.locator("li button:first-child").get_by_text(NAMES[1], exact=True).click()
        expect(other.get_by_text("Leaf classes of alexnet, most errors first")).to_be_visible()
        expect(other.locator(CHIPS)).to_have_text(["wrong answers"])
        until(other, lambda: urlsplit(other.url).query == urlsplit(saved).query)
        expect(other.locator("img[src='x']")).to_have_count(0)
        assert other.evaluate("globalThis.ran") is None
    finally:
        menu = page.locator(".saved")
        for name in NAMES:
            menu.get_by_role("button", name=f"Delete the saved view {name}", exact=True).click()
            expect(menu.locator("li button:first-child").get_by_text(name, exact=True)).to_have_count(0)
    context.close()
    expect(menu.get_by_text("None yet")).to_be_visible()


LISTEN = """() => {
  const said = [], { send } = WebSocket.prototype
  WebSocket.prototype.send = function (part) {
    if (typeof part === "string") said.push(part)
    return send.call(this, part)
  }
  return said
}"""
"""Note what the page tells the server from now on."""


def test_a_lasso_and_a_box_choose_several_models(dashboard):
    page = dashboard
    chosen = ["squeezenet1_0", "shufflenet_v2_x0_5"]
    for tool, draw in (("Lasso Select", plots.draw_around), ("Box Select", plots.drag)):
        plots.use_tool(page, "scatter", tool)
        places = [plots.mark(page, SCATTER, "label", label) for label in chosen]
        expected = set(plots.inside(page, SCATTER, "label", places))
        assert set(chosen) <= expected
        draw(page, places)
        names = {f"demo:{label}" for label in expected}
        until(page, lambda names=names: set(_state(page).filter.models) == names)
        state = _state(page)
        assert set(state.models) == names
        expect(page.locator(CHIPS)).to_have_text([f"{len(names)} models"])
        for label in expected:
            expect(
                page.locator(".vac-task").get_by_role("button", name=f"Take out {label}", exact=True)
            ).to_be_visible()
        # The others are still there, faintly, to be chosen.
        alphas = dict(zip(plots.column(page, SCATTER, "label"), plots.column(page, SCATTER, "alpha"), strict=True))
        assert {label for label, alpha in alphas.items() if alpha > 0.5} == expected
        page.get_by_role("button", name="Reset").click()
        expect(page.locator(CHIPS)).to_have_count(0)


def test_a_lasso_chooses_several_classes_of_the_graph(dashboard, demo_warehouse):
    page = dashboard
    plots.use_tool(page, "distribution", "Lasso Select")
    ids = plots.column(page, GRAPH, "class_id")
    at = {i: plots.mark(page, GRAPH, "class_id", i) for i in ids}
    # Two neighbours, and whatever lies in the box around them.
    near = min(ids[1:], key=lambda i: (at[i][0] - at[ids[0]][0]) ** 2 + (at[i][1] - at[ids[0]][1]) ** 2)
    places = [at[ids[0]], at[near]]
    expected = set(plots.inside(page, GRAPH, "class_id", places))
    said = page.evaluate_handle(LISTEN)
    plots.draw_around(page, places)
    until(page, lambda: set(_state(page).classes) == expected)
    assert set(_state(page).filter.classes) == expected
    assert [patch for patch in said.json_value() if '"attr":"indices"' in patch] == []  # only what was chosen travels
    assert len([patch for patch in said.json_value() if '"attr":"tags"' in patch]) == 1
    expect(page.locator(CHIPS)).to_have_text([f"{len(expected)} classes"])
    expect(page.locator(THUMBS)).to_have_count(4 * len(expected))
    until(page, lambda: set(plots.column(page, MODEL_BARS, "class_id")) == expected)
    [(accuracy,)] = rows(
        demo_warehouse,
        "SELECT avg(correct::INT) FROM predictions WHERE model = 'demo:resnet18' AND "
        + Predicate(classes=tuple(expected)).sql(),
    )
    y = dict(zip(plots.column(page, SCATTER, "label"), plots.column(page, SCATTER, "y"), strict=True))
    assert y["resnet18"] == pytest.approx(accuracy)


def test_a_second_model_stands_beside_the_first_or_shows_movement(dashboard, demo_warehouse):
    page = dashboard
    view = page.locator(".vac-distribution")
    view.get_by_role("combobox").nth(1).select_option(label="squeezenet1_1")
    expect(page.get_by_text("resnet18 and squeezenet1_1")).to_be_visible()
    figures = view.locator(".bk-Figure")
    expect(figures).to_have_count(2)
    left, right = (figure.bounding_box() for figure in figures.all())
    assert left["x"] + left["width"] <= right["x"] + 1
    assert min(left["width"], right["width"]) > 90
    until(page, lambda: _query(page, "second") == "demo:squeezenet1_1")

    view.get_by_role("combobox").nth(2).select_option(label="as movement")
    expect(page.get_by_text("resnet18 to squeezenet1_1")).to_be_visible()
    expect(figures).to_have_count(1)
    moves = ["x0", "y0", "x1", "y1", "!left", "!label"]

    def lines():
        found = plots.columns(page, moves)
        return [each for each in found if len(each["x0"]) == 64]

    [drawn] = until(page, lines)
    for model, (x, y) in {"resnet18": ("x0", "y0"), "squeezenet1_1": ("x1", "y1")}.items():
        expected = rows(
            demo_warehouse,
            "SELECT x / r, y / r FROM class_layout,"
            " (SELECT sqrt(avg(x * x + y * y)) AS r FROM class_layout WHERE model = $1)"
            " WHERE model = $1 ORDER BY class_id",
            f"demo:{model}",
        )
        assert drawn[x] == pytest.approx([x for x, _ in expected], abs=1e-4)
        assert drawn[y] == pytest.approx([y for _, y in expected], abs=1e-4)

    view.get_by_role("combobox").nth(1).select_option(label="compare with …")
    expect(page.get_by_text("How resnet18 groups the classes")).to_be_visible()
    until(page, lambda: lines() == [])


def test_single_images_are_shown_under_the_pointer_and_can_be_picked(dashboard, demo_warehouse):
    page = dashboard
    view = page.locator(".vac-distribution")
    view.get_by_role("combobox").first.select_option(label="Images")
    expect(page.get_by_text("How resnet18 sees the images, 256 images")).to_be_visible()
    with duckdb.connect(str(demo_warehouse / "warehouse.duckdb"), read_only=True) as connection:
        points = connection.execute(
            "SELECT l.image_id, x / r, y / r, i.class_id, class_name, root_class"
            " FROM image_layout AS l JOIN images AS i USING (image_id) JOIN classes AS c ON c.class_id = i.class_id,"
            " (SELECT sqrt(avg(x * x + y * y)) AS r FROM image_layout WHERE model = 'demo:resnet18')"
            " WHERE model = 'demo:resnet18'"
        ).fetchall()

    # The one that is farthest from all others: nobody else can be meant.
    def alone(point):
        return min((point[1] - o[1]) ** 2 + (point[2] - o[2]) ** 2 for o in points if o is not point)

    image_id, x, y, class_id, name, root = max((p for p in points if abs(p[1]) < 1.8 and abs(p[2]) < 1.8), key=alone)
    # The first picture takes a while, datashader compiles; until then that is said.
    until(page, lambda: plots.pixels(page) > 500, seconds=60)
    expect(view.get_by_text("Drawing the points")).to_have_count(0)
    place = until(page, lambda: plots.place(page, ["image", "dw", "dh"], x, y))
    page.mouse.move(place[0] - 4, place[1])
    page.mouse.move(*place, steps=4)
    expect(view.get_by_text(f"{name} ({root})")).to_be_visible()
    picture = view.locator("img[src*='vacpanel-media']")
    expect(picture).to_be_visible()
    until(page, lambda: picture.evaluate("image => image.naturalWidth") == 96)
    assert f"image/{image_id}/96" in picture.get_attribute("src")
    page.mouse.down()
    page.mouse.up()
    until(page, lambda: _state(page).images == [image_id])
    assert _state(page).classes == [class_id]
    expect(page.get_by_role("button", name="Explain 1 model on 1 image")).to_be_enabled()

    view.get_by_role("combobox").first.select_option(label="Images, all models")
    expect(page.get_by_text(re.compile("How all models see the images, 3.328 points"))).to_be_visible()


@pytest.mark.parametrize("visitor", ["first", "second"])
def test_a_link_to_the_images_draws_their_points(page, server, visitor):
    # The first time datashader is compiled; the second time the points are there before the page has been opened.
    open_dashboard(page, server, "?model=demo:resnet18&graph=images")
    until(page, lambda: plots.pixels(page) > 500, seconds=60)
    expect(page.get_by_text("Drawing the points")).to_have_count(0)
