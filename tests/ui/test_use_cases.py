"""The two use cases of paper section 6, walked through on the demo as Alice and Bob would."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from etl.explain.similarity import similarity
from tests.ui import plots
from tests.ui.plots import GRAPH, ON_CLASSES, RADAR_DOTS, SCATTER, SPREAD
from tests.ui.steps import CELLS, DONE, ROWS, THUMBS, explain, open_dashboard, painted, percents, rows, sort_by, texts
from tests.ui.steps import until as wait
from vacpanel import layers
from vacpanel.media import Media
from warehouse import open as open_warehouse

RESNETS = ["resnet50", "resnet101", "resnet152"]


def test_alice_compares_seven_models_on_one_image(page: Page, server, demo_warehouse):
    """Paper section 6.1: from thirteen models to seven, on an image of a class on which they differ."""
    open_dashboard(page, server)

    # She screens the thirteen models: their accuracies, and those by root class.
    accuracy = dict(rows(demo_warehouse, "SELECT label, top1 FROM model_accuracy JOIN models USING (model)"))
    shown = zip(plots.column(page, SCATTER, "label"), plots.column(page, SCATTER, "top1"), strict=True)
    assert dict(shown) == pytest.approx(accuracy)
    assert len(accuracy) == 13
    assert "animal" in plots.column(page, RADAR_DOTS, "root")
    for label in RESNETS:
        page.locator(f".vac-radar button[data-name='{label}']").click()
    expect(page.locator(".vac-task").get_by_role("button", name="Take out resnet152")).to_be_visible()

    # Among the classes worth a look she picks the one on which the models differ most.
    ids, low, high = (plots.column(page, SPREAD, name) for name in ("class_id", "min_top1", "max_top1"))
    by_range = range(len(ids) // 2, len(ids))
    class_id = ids[max((i for i in by_range if ids[i] >= 0), key=lambda i: high[i] - low[i])]
    [(name, spread)] = rows(
        demo_warehouse, "SELECT class_name, range_top1 FROM class_spread WHERE class_id = ?", class_id
    )
    assert [(spread,)] == rows(demo_warehouse, "SELECT max(range_top1) FROM class_spread")
    plots.tap(page, SPREAD, "class_id", class_id)
    expect(page.get_by_text(f"Models on “{name}”, 4 images")).to_be_visible()
    on_class = dict(
        rows(
            demo_warehouse,
            "SELECT label, top1 FROM class_accuracy JOIN models USING (model) WHERE class_id = ?",
            class_id,
        )
    )
    wait(page, lambda: len(plots.column(page, ON_CLASSES, "label")) == 13)
    dots = zip(plots.column(page, ON_CLASSES, "label"), plots.column(page, ON_CLASSES, "x"), strict=True)
    assert dict(dots) == pytest.approx(on_class)

    # The four that are worst on it join the comparison, in the sidebar.
    worst = sorted((label for label in on_class if label not in RESNETS), key=lambda label: on_class[label])[:4]
    models = page.get_by_role("combobox", name="Models to compare")
    for label in worst:
        models.fill(label)
        models.press("Enter")
    models.press("Escape")

    # The images of the class are there to look at; she clicks on one.
    thumbs = page.locator(THUMBS)
    expect(thumbs).to_have_count(4)
    image = int(thumbs.nth(2).get_attribute("data-id"))
    thumbs.nth(2).click()
    explain(page, "Explain 7 models on 1 image")
    expect(page.locator(DONE)).to_have_count(7, timeout=180_000)
    expect(page.get_by_text("What the models look at: Grad-CAM", exact=False)).to_be_visible()
    assert set(texts(page, "label")) == {*RESNETS, *worst}

    # She sorts by the accuracy on the class and compares regions and answers.
    title = sort_by(page, "class_top1")
    expect(title).to_have_attribute("aria-sort", "descending")
    order = texts(page, "label")
    assert percents(page, "class_top1") == pytest.approx([round(100 * on_class[label], 1) for label in order])
    assert [on_class[label] for label in order] == sorted(on_class[label] for label in order)[::-1]
    painted(page, ROWS, "heatmap", 7)
    assert all(0 < area < 100 for area in percents(page, "roi_area"))
    said = rows(
        demo_warehouse,
        "SELECT label, class_name, correct FROM predictions JOIN models USING (model)"
        " JOIN classes ON classes.class_id = predicted_class_id WHERE image_id = ?",
        image,
    )
    answers = {label: f"{'✓' if right else '✗'} {answer}" for label, answer, right in said}
    assert texts(page, "predicted") == [answers[label] for label in order]

    # The similarity matrix, by L1, is Algorithm 2 on the very maps.
    expect(page.get_by_text("Comparison of the models")).to_be_visible()
    cells = page.locator(CELLS)
    expect(cells).to_have_count(49)
    values = np.array([float(cell.get_attribute("data-value")) for cell in cells.all()]).reshape(7, 7)
    labels = [*RESNETS, *worst]
    maps = [_map(page, demo_warehouse, label) for label in labels]
    np.testing.assert_allclose(values, similarity(np.stack(maps), "l1"), atol=2e-3)

    # The pair that is least alike, side by side.
    one, other = map(int, np.unravel_index(values.argmax(), values.shape))
    cells.nth(7 * one + other).click()
    dialog = page.locator(".vac-supplement dialog[open]")
    expect(dialog.locator("h2")).to_have_text(f"{labels[one]} and {labels[other]}")
    expect(dialog.locator("vac-map[data-ready]")).to_have_count(2)
    left, right = (found.bounding_box() for found in dialog.locator("vac-map").all())
    assert left["x"] + left["width"] <= right["x"]
    assert abs(left["y"] - right["y"]) < 2
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def _map(page: Page, warehouse, label: str) -> np.ndarray:
    """Return the map that a row of the table shows, from the store, as the model saw the image."""
    row = page.locator(ROWS).filter(has=page.get_by_role("button", name=label, exact=True))
    source = row.locator("vac-map[data-kind='heatmap']").evaluate("map => map.source.layers")
    with open_warehouse(warehouse) as opened:
        return layers.at_size(Media(opened).maps.get(source.split("/")[-2]).map, (96, 96))


def test_bob_investigates_one_model_on_the_images_of_a_class(page: Page, server, demo_warehouse):
    """Paper section 6.2: one model, a class from its distribution graph, and what its mistakes have in common."""
    open_dashboard(page, server)

    # The scatter and the radar lead him to a model; a tap pins it.
    plots.tap(page, SCATTER, "label", "resnet152")
    expect(page.get_by_text("How resnet152 groups the classes")).to_be_visible()
    wait(page, lambda: plots.thickest_line(page) == "resnet152")

    # In its distribution graph he zooms in on the tools and picks a class on which it is right and wrong.
    [(class_id, name, root)] = rows(
        demo_warehouse,
        "SELECT class_id, class_name, root_class FROM class_accuracy"
        " WHERE model = 'demo:resnet152' AND top1 BETWEEN 0.01 AND 0.99 ORDER BY top1, class_id LIMIT 1",
    )
    page.locator(f".vac-distribution button[data-name='{root}']").click()
    expect(page.get_by_text(f"Leaf classes of “{root}”", exact=False)).to_be_visible()
    wait(page, lambda: (found := plots.mark(page, GRAPH, "class_id", class_id)) and found[0] > 0)
    before = plots.span(page, GRAPH)
    page.mouse.move(*plots.mark(page, GRAPH, "class_id", class_id))
    for _ in range(3):
        page.mouse.wheel(0, -120)
        page.wait_for_timeout(100)
    wait(page, lambda: plots.span(page, GRAPH) < 0.9 * before)
    plots.tap(page, GRAPH, "class_id", class_id)
    expect(page.locator(".vac-task").get_by_role("button", name=f"Take out {name}")).to_be_visible()
    assert plots.span(page, GRAPH) < 0.9 * before  # what was tapped did not take him back

    # The examples of all methods let him choose Smooth Grad-CAM++, which he then does in the sidebar.
    examples = page.locator(".vac-explanations figure")
    expect(examples.filter(has_text="Smooth Grad-CAM++")).to_be_visible()
    methods = page.get_by_role("combobox", name="Explanation methods")
    methods.fill("smooth")
    methods.press("Enter")
    methods.press("Escape")
    page.locator(".vac-task").get_by_role("button", name="Take out Grad-CAM", exact=True).click()
    page.wait_for_url("**method=smooth-grad-cam%2B%2B**")

    # All images of the class are explained; some are answered rightly, some are not.
    explain(page, "Explain 1 model on 4 images")
    expect(page.locator(DONE)).to_have_count(4, timeout=180_000)
    expect(page.get_by_text("What the models look at: Smooth Grad-CAM++", exact=False)).to_be_visible()
    said = rows(
        demo_warehouse,
        "SELECT round(100 * confidence, 1), correct, g.class_name FROM predictions AS p"
        " JOIN classes AS g ON g.class_id = predicted_class_id WHERE model = 'demo:resnet152' AND p.class_id = ?"
        " ORDER BY confidence DESC",
        class_id,
    )
    assert {right for _, right, _ in said} == {True, False}

    # By confidence, with the colours of the regions below one another: each is a histogram of its own.
    title = sort_by(page, "confidence")
    expect(title).to_have_attribute("aria-sort", "descending")
    assert percents(page, "confidence") == pytest.approx([confidence for confidence, _, _ in said], abs=0.05)
    assert texts(page, "predicted") == [f"{'✓' if right else '✗'} {answer}" for _, right, answer in said]
    painted(page, ROWS, "heatmap", 4)
    painted(page, ROWS, "colours", 4)
    histograms = page.locator(f"{ROWS} vac-map[data-kind='colours']")
    counts = [tuple(found.evaluate("map => Array.from(map.counts)")) for found in histograms.all()]
    assert all(sum(found) > 0 for found in counts)
    assert len(set(counts)) == 4
    places = [found.bounding_box() for found in histograms.all()]
    assert len({(round(place["x"]), round(place["width"])) for place in places}) == 1  # one column, one scale

    # The row that is wrong, large: its picture, region and colours.
    wrong = page.locator(ROWS).filter(has=page.locator(".sign.wrong")).first
    wrong.locator("td[data-field='colours'] button").click()
    dialog = page.locator(".vac-explanations dialog[open]")
    expect(dialog.locator("vac-map[data-ready]")).to_have_count(3)
    expect(dialog.locator("dd[data-field='predicted']")).to_contain_text("✗")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
