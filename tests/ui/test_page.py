"""The page as a whole: its keys, its room at every width, light and dark."""

from __future__ import annotations

import itertools
import re

import pytest
from playwright.sync_api import Page, expect

from tests.ui import plots
from tests.ui.plots import SCATTER
from tests.ui.steps import DONE, ROWS, THUMBS, explain, open_dashboard, until

# What can be operated, in the order of the page, as [what it is called, the part that it is in], shadow trees included.
_WALK = """
const PARTS = [["header", "header"], [".saved", "header"], [".vac-task", "task"], [".bar", "filter"],
  [".vac-scatter", "A1"], [".vac-radar", "A2"], [".vac-modelbars", "A3"], [".vac-rootbars", "A4"],
  [".vac-distribution", "B"], [".vac-explanations", "D"], [".vac-supplement", "E"]]
function partOf(element) {
  for (let node = element; node; node = node.parentNode ?? node.host)
    if (node.matches) for (const [selector, part] of PARTS) if (node.matches(selector)) return part
  return "?"
}
function called(element) {
  return element.getAttribute("aria-label") || element.labels?.[0]?.textContent || element.textContent.trim() ||
    element.placeholder || element.title || element.tagName
}
function all(node, found = []) {
  if (node.nodeType === 1 && node.matches("button, input, select, summary, a[href], [tabindex='0']")) found.push(node)
  for (const child of [...(node.shadowRoot?.children ?? []), ...(node.children ?? [])]) all(child, found)
  return found
}
function canBeUsed(element) {
  return !element.disabled && element.tabIndex >= 0 && element.checkVisibility({visibilityProperty: true}) &&
    element.getBoundingClientRect().width > 0
}
function active() {
  let found = document.activeElement
  while (found?.shadowRoot?.activeElement) found = found.shadowRoot.activeElement
  return found
}
"""


def _controls(page: Page) -> list[list[str]]:
    return page.evaluate(
        f"() => {{ {_WALK}; const found = all(document.body).filter(canBeUsed); window.toReach = new Set(found);"
        " return found.map((element) => [called(element), partOf(element)]) }"
    )


def test_tab_reaches_every_control_part_by_part(page, server):
    open_dashboard(page, server, "?classes=3,5&models=demo:alexnet&where=%7B%22correct%22%3Atrue%7D")
    expect(page.locator(THUMBS).first).to_be_visible()
    controls = _controls(page)
    for wanted in (
        "Reset",
        "Toggle theme",
        "Saved views",
        "Copy link",
        "Models to compare",
        "Classes",
        "Threshold of attention",
    ):
        assert any(wanted in name for name, _ in controls), wanted
    parts = []
    for _ in range(len(controls) + 20):
        page.keyboard.press("Tab")
        part = page.evaluate(
            f"() => {{ {_WALK}; const found = active(); if (!found || found === document.body) return null;"
            " toReach.delete(found); return partOf(found) }"
        )
        if part in {None, "?"}:  # out of the page, into the browser
            break
        parts.append(part)
    left = page.evaluate(
        f"() => {{ {_WALK}; return [...toReach].map((element) => [partOf(element), called(element)]) }}"
    )
    assert left == []
    order = [part for part, _ in itertools.groupby(parts)]
    assert order == ["header", "task", "filter", "A1", "A2", "A3", "A4", "B", "D", "E"]


def test_enter_and_space_do_what_a_click_does(page, server):
    open_dashboard(page, server)
    # A legend's chip compares a model.
    page.locator(".vac-radar button[data-name='alexnet']").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".vac-task").get_by_role("button", name="Take out alexnet")).to_be_visible()
    page.locator(".vac-radar button[data-name='resnet18']").focus()
    page.keyboard.press("Space")
    expect(page.locator(".vac-task").get_by_role("button", name="Take out resnet18")).to_be_visible()
    # A picker is walked through with arrows.
    page.get_by_role("combobox", name="Classes").focus()
    page.keyboard.type("fish")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    thumbs = page.locator(THUMBS)
    expect(thumbs).to_have_count(4)
    # The strip.
    thumbs.nth(1).focus()
    page.keyboard.press("Space")
    expect(thumbs.nth(1)).to_have_attribute("aria-pressed", "true")
    run = page.get_by_role("button", name="Explain 2 models on 1 image")
    expect(run).to_be_enabled()
    run.focus()
    page.keyboard.press("Enter")
    expect(page.locator(DONE)).to_have_count(2, timeout=120_000)
    # The table: sorted, and a row opened.
    title = page.locator(".vac-explanations th[data-field='top1']")
    title.locator("button").focus()
    page.keyboard.press("Space")
    expect(title).to_have_attribute("aria-sort", "descending")
    page.locator(f"{ROWS} td[data-field='heatmap'] button").first.focus()
    page.keyboard.press("Space")
    expect(page.locator(".vac-explanations dialog[open]")).to_be_visible()
    page.keyboard.press("Escape")
    # The name of a model in the table pins it.
    page.locator(f"{ROWS} .pin").filter(has_text="alexnet").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("Leaf classes of alexnet, best first")).to_be_visible()
    # The filter bar.
    page.get_by_role("button", name="right ✓").focus()
    page.keyboard.press("Enter")
    chip = page.get_by_role("button", name="right answers")
    chip.focus()
    page.keyboard.press("Space")
    expect(chip).to_have_count(0)


CARDS = ".vac-view"


def _boxes(page: Page) -> dict[str, dict[str, float]]:
    return {
        re.search(r"vac-(?!view)(\w+)", card.get_attribute("class")).group(1): card.bounding_box()
        for card in page.locator(CARDS).all()
    }


@pytest.mark.parametrize("width", [1280, 1440, 2560])
def test_everything_has_room(page, server, width):
    page.set_viewport_size({"width": width, "height": 900})
    query = "?classes=3&models=demo:alexnet,demo:resnet18&second=demo:alexnet"
    open_dashboard(page, server, query)
    for step in ("before", "after"):
        for theme in ("light", "dark"):
            expect(page.locator("html")).to_have_attribute("data-theme", theme)
            _check_room(page, width, f"{step} a task, {theme}")
            page.get_by_role("button", name="Toggle theme").click()
        if step == "before":
            explain(page, "Explain 2 models on 1 image")
            expect(page.locator(DONE)).to_have_count(2, timeout=120_000)


def _check_room(page: Page, width: int, when: str) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= width, when
    boxes = _boxes(page)
    assert len(boxes) == 7
    for name, box in boxes.items():
        assert box["x"] >= 0, (when, name)
        assert box["x"] + box["width"] <= width, (when, name)
        assert min(box["width"], box["height"]) > 120, (when, name)
    for (one, a), (other, b) in itertools.combinations(boxes.items(), 2):
        apart = (
            a["x"] + a["width"] <= b["x"] + 1
            or b["x"] + b["width"] <= a["x"] + 1
            or a["y"] + a["height"] <= b["y"] + 1
            or b["y"] + b["height"] <= a["y"] + 1
        )
        assert apart, (when, one, other)
    # What is in a card stays in it.
    for name, box in boxes.items():
        for figure in page.locator(f".vac-{name} .bk-Figure:visible").all():
            inner = figure.bounding_box()
            assert inner["x"] >= box["x"] - 1, (when, name)
            assert inner["x"] + inner["width"] <= box["x"] + box["width"] + 1, (when, name)
            assert inner["y"] + inner["height"] <= box["y"] + box["height"] + 1, (when, name)
            assert inner["width"] > 60, (when, name)
            assert inner["height"] > 60, (when, name)


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (2560, 1440), (2560, 900)])
def test_a_high_window_is_filled_and_names_around_the_radar_are_whole(page, server, width, height):
    page.set_viewport_size({"width": width, "height": height})
    open_dashboard(page, server)
    boxes = _boxes(page)
    end = max(box["y"] + box["height"] for box in boxes.values())
    assert height - 60 < end <= height
    assert boxes["explanations"]["height"] > 350 + 0.5 * (height - 900)
    radar = page.locator(".vac-radar .bk-Figure:visible").bounding_box()
    roots = plots.column(page, ["root", "images", "size"], "root")
    ends = [plots.mark(page, ["root", "images", "size"], "root", root)[1] for root in roots]
    # Two lines of text, and a gap, above the highest corner and below the lowest.
    assert min(ends) - radar["y"] > 30
    assert radar["y"] + radar["height"] - max(ends) > 30


def test_dark_is_dark_everywhere_and_stays_chosen(page, server):
    open_dashboard(page, server)
    page.get_by_role("button", name="Toggle theme").click()
    for _ in range(2):
        grounds = [
            card.evaluate("card => getComputedStyle(card).backgroundColor") for card in page.locator(CARDS).all()
        ]
        assert all(_bright(ground) < 60 for ground in grounds), grounds
        assert _bright(page.evaluate("getComputedStyle(document.documentElement).backgroundColor")) < 60
        headings = page.locator(f"{CARDS} h2")
        assert all(_bright(heading.evaluate("h => getComputedStyle(h).color")) > 180 for heading in headings.all())
        # Axes are painted on canvases: they follow, too.
        until(page, lambda: all(_bright(ink) > 110 for ink in plots.inks(page, SCATTER)))
        page.reload()
        open_dashboard(page, server)
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def _bright(color: str) -> float:
    if color.startswith("#"):
        return sum(int(color[i : i + 2], 16) for i in (1, 3, 5)) / 3
    return sum(float(value) for value in re.findall(r"[\d.]+", color)[:3]) / 3


def test_the_root_address_leads_to_the_dashboard(page, server):
    page.goto(f"{server}/?classes=3")
    expect(page.get_by_text("Images of “fish”: 4 images")).to_be_visible(timeout=60_000)
    picture = page.locator(f"{THUMBS} img").first
    until(page, lambda: picture.evaluate("image => image.naturalWidth") > 0)


def test_another_session_on_the_link_shows_the_same(browser, page, server):
    """Filters, methods, parameters, target and what the choosers say."""
    query = (
        "?model=demo:alexnet&models=demo:resnet18,demo:alexnet&root=tool&classes=3,51&images=12"
        '&method=grad-cam,bbmp&parameters={"bbmp":{"iterations":40}}&target=5&threshold=0.3&measure=ssim'
        '&where={"roots":["animal","tool"],"correct":false,"min_confidence":0.2}&x=flops&y=top5'
        "&second=demo:densenet121&comparison=movement&graph=classes"
    )
    open_dashboard(page, server, query)
    page.get_by_role("button", name="Options of BBMP (1 changed)").click()
    expect(page.get_by_label("iterations", exact=True)).to_have_value("40", timeout=60_000)
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    other = open_dashboard(context.new_page(), server, page.url.removeprefix(f"{server}/app"))
    other.get_by_role("button", name="Options of BBMP (1 changed)").click()
    expect(other.get_by_label("iterations", exact=True)).to_have_value("40", timeout=60_000)
    assert other.url == page.url
    seen = [_seen(page), _seen(other)]
    assert seen[0] == seen[1]
    said = seen[0]
    assert said["chips"] == ["animal, tool", "wrong answers", "confidence 20% to 100%"]
    assert said["taken"] == ["resnet18", "alexnet", "fish", "paintbrush", "Grad-CAM", "BBMP", "shrimp"]
    assert {"Operations (FLOPs)", "Top-5", "a class of my choice", "SSIM"} <= set(said["choosers"])
    assert {"densenet121", "as movement"} <= set(said["choosers"])
    assert said["threshold"] == "30"
    assert said["task"] == ["Image 12 is picked.", "Explain 2 models on 1 image with 2 methods"]
    assert said["scatter"]
    context.close()


def _seen(page: Page) -> dict:
    page.wait_for_timeout(500)
    choosers = page.locator("select:visible")
    return {
        "headings": page.locator("h2").all_inner_texts(),
        "chips": page.locator(".bar .chips button").all_inner_texts(),
        "taken": page.locator(".vac-task .chips button:not(.clear)").all_inner_texts(),
        "choosers": [chooser.evaluate("s => s.selectedOptions[0].textContent") for chooser in choosers.all()],
        "threshold": page.get_by_role("slider", name="Threshold of attention").input_value(),
        "task": [
            *page.get_by_text(re.compile("picked")).all_inner_texts(),
            page.get_by_role("button", name=re.compile("^Explain ")).inner_text(),
        ],
        "sql": page.locator(".bar details.sql code").text_content(),
        "strip": [thumb.get_attribute("data-id") for thumb in page.locator(THUMBS).all()],
        "scatter": plots.columns(page, SCATTER),
        "bars": [plots.columns(page, columns) for columns in (plots.MODEL_BARS, plots.ROOT_BARS, plots.GRAPH)],
    }


def test_changes_of_several_sizes_lay_the_page_out_once(page, server):
    open_dashboard(page, server)
    counted = page.evaluate(
        """async () => {
          const frames = (n) => new Promise((done) => n ? requestAnimationFrame(() => done(frames(n - 1))) : done())
          const models = Bokeh.documents.flatMap((shown) => [...shown._all_models.values()])
          const views = models.filter(({ type }) => type === "Figure")
            .map(({ id }) => Bokeh.index.find_one_by_id(id)).filter((view) => view?.is_displayed)
          let root = views[0]
          while (root.parent?.invalidate_layout) root = root.parent
          let count = 0
          const original = root.update_layout
          root.update_layout = function () { count += 1; return original.call(this) }
          for (const { parent } of views.slice(0, 4)) parent.model.margin = [1, 0, 0, 0]
          const before = count
          await frames(3)
          return [before, count]
        }"""
    )
    assert counted == [0, 1]


_FIGURES = """
const figures = []
for (const doc of Bokeh.documents)
  for (const model of doc._all_models.values()) {
    const view = model.type === "Figure" && Bokeh.index.find_one_by_id(model.id)
    if (view && view.is_displayed) figures.push(view)
  }
"""


def test_painting_a_plot_again_writes_no_style_sheet(page, server):
    open_dashboard(page, server, "?model=demo:resnet18")
    plots.steady(page, ["model", "family"], "model", "demo:resnet18")
    count, writes, rewritten = page.evaluate(
        f"""() => {{
        {_FIGURES}
        const sheets = figures.flatMap((view) => view.axis_views.map((axis) => axis.position.el))
        const observer = new MutationObserver(() => {{}})
        for (const sheet of sheets) observer.observe(sheet, {{ childList: true, characterData: true, subtree: true }})
        for (const view of figures) {{
          view.invalidate_painters()
          view.repaint()
        }}
        const writes = observer.takeRecords().length
        observer.disconnect()
        sheets[0].textContent = ""
        figures[0].invalidate_painters()
        figures[0].repaint()
        return [figures.length, writes, sheets[0].textContent.includes("position")]
      }}"""
    )
    assert count >= 4
    assert writes == 0
    assert rewritten  # what did change is written


def test_a_toolbar_is_measured_once_a_size(page, server):
    open_dashboard(page, server, "?model=demo:resnet18")
    plots.steady(page, ["model", "family"], "model", "demo:resnet18")
    same, other, folded = page.evaluate(
        f"""() => {{
        {_FIGURES}
        const figure = figures.find((view) => view.renderer_views.get(view._toolbar))
        const toolbar = figure.renderer_views.get(figure._toolbar).toolbar_view, [button] = toolbar._items
        let measured = 0
        const measure = button.getBoundingClientRect
        button.getBoundingClientRect = function () {{
          measured++
          return measure.call(this)
        }}
        toolbar._after_render()
        toolbar._after_render()
        const same = measured
        toolbar.el.style.setProperty("height", "60px", "important")
        toolbar._after_render()
        return [same, measured, toolbar._overflow_menu.items.length]
      }}"""
    )
    assert same == 0
    assert other >= 1
    assert folded >= 1  # buttons without room are in a menu


def test_marks_look_the_same_whatever_bokeh_thinks_is_selected(page, server):
    """Glyphs for that are kept from following the data; should Bokeh paint one all the same, the marks stay."""
    open_dashboard(page, server, "?model=demo:resnet18")
    plots.steady(page, ["model", "family"], "model", "demo:resnet18")
    told, looks = page.evaluate(
        f"""async () => {{
        {_FIGURES}
        const marks = figures.flatMap((view) => [...view.renderer_views.values()].filter((part) => part.glyph))
        const told = []
        for (const {{ selection_glyph, nonselection_glyph, muted_glyph, decimated_glyph }} of marks)
          for (const other of [selection_glyph, nonselection_glyph, muted_glyph, decimated_glyph]) {{
            const visuals = other.visuals
            Object.defineProperty(other, "visuals", {{ get: () => (told.push(other.model.type), visuals) }})
          }}
        for (const {{ model }} of marks) model.data_source.change.emit()
        await new Promise((resolve) => setTimeout(resolve, 200))
        const shown = (view, indices) => {{
          for (const {{ model }} of view.renderer_views.values())
            model.data_source?.selected.setv({{ indices: indices(model.data_source) }}, {{ sync: false, silent: true }})
          view.invalidate_painters()
          view.repaint()
          return view.canvas_view.primary.canvas.toDataURL()
        }}
        const all = (source) => [...Array(source.get_length()).keys()]
        const selections = [() => [], all, () => [1e6], () => []]
        const looks = figures.map((view) => new Set(selections.map((some) => shown(view, some))))
        return [told, looks.map((look) => [look.size, [...look][0].length > 2000])]
      }}"""
    )
    assert told == []
    assert len(looks) >= 4
    assert all(look == [1, True] for look in looks)


def test_views_are_found_as_bokeh_finds_them_without_going_through_all_again(page, server):
    open_dashboard(page, server)
    asked, others, shown, gone = page.evaluate(
        """() => {
        const { index } = Bokeh
        const models = Bokeh.documents.flatMap((doc) => [...doc._all_models.values()])
        const seek = (id) => [...index.find_by_id(id)][0] ?? null
        const found = models.map(({ id }) => [index.find_one_by_id(id), seek(id)])
        const there = found.map(([, theirs]) => theirs).filter((view) => view?.el?.isConnected)
        let through = 0
        const all = index.all_views
        index.all_views = function () { through++; return all.call(this) }
        for (const view of there) index.find_one_by_id(view.model.id)
        const shown = through
        there.at(-1).el.remove()
        index.find_one_by_id(there.at(-1).model.id)
        index.all_views = all
        return [there.length, found.filter(([ours, theirs]) => ours !== theirs).length, shown, through - shown]
      }"""
    )
    assert asked > 100
    assert others == 0
    assert shown == 0
    assert gone == 1  # what has left the page is looked for again


def test_es_module_shims_is_loaded_for_a_component_with_an_import_map(page, server):
    open_dashboard(page, server)
    loaded = "() => performance.getEntriesByType('resource').some(({ name }) => name.includes('es-module-shims'))"
    assert not page.evaluate(loaded)
    seven = page.evaluate("""async () => {
      const address = (code) => URL.createObjectURL(new Blob([code], { type: "text/javascript" }))
      importShim.addImportMap({ imports: { "made-up": address("export default 7") } })
      return (await importShim(address("import seven from 'made-up'; export default seven"))).default
    }""")
    assert seven == 7
    assert page.evaluate(loaded)
