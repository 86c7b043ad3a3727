"""Steps: what a person does and what it is expected to do to the state, nothing else."""

from __future__ import annotations

from tests.vacpanel.cross_filter.screen import DOTS, GRAPH, MODEL_BARS, ROOT_BARS, SCATTER, SPREAD
from warehouse.predicate import Predicate


def tap_model(screen, picks):
    label = screen.only(*SCATTER)["model"]
    screen.mark(screen.views["scatter"]._pane.object, picks[0] % len(label))
    return {"model": screen.models[picks[0] % len(label)]}


def circle_models(screen, picks):
    rows = sorted({pick % len(screen.models) for pick in picks})
    screen.mark(screen.views["scatter"]._pane.object, *rows)
    chosen = [screen.models[row] for row in rows]
    return {"models": chosen, "filter.models": tuple(chosen)} if len(rows) > 1 else {"model": chosen[0]}


def click_family(screen, picks):
    family = screen.families[picks[0] % len(screen.families)]
    table = screen.dashboard.warehouse.models()
    members = [str(m) for m, f in zip(table["model"], table["family"], strict=True) if f == family]
    before = screen.state.models
    screen.views["scatter"]._family_clicked(family)
    others = [model for model in before if model not in members]
    return {"models": others if set(members) <= set(before) else others + members}


def click_legend(screen, picks):
    model = screen.models[picks[0] % len(screen.models)]
    before = screen.state.models
    screen.views["radar"]._chip_clicked(screen.dashboard.warehouse.model_row(model).label)
    return {"models": [m for m in before if m != model] if model in before else [*before, model]}


def tap_root(screen, picks):
    row = picks[0] % len(screen.roots)
    screen.mark(screen.views["radar"]._pane.object, row)
    return {"root": screen.roots[row]}


def click_root(screen, picks):
    root = screen.roots[picks[0] % len(screen.roots)]
    before = screen.state.root
    screen.views["distribution"]._chip_clicked(root)
    return {"root": "" if root == before else root}


def _of_class(before, ids):
    if not ids or before["classes"] == ids[-1:]:
        return {}
    return {"classes": ids[-1:], "images": []}


def _tap_class(view, columns):
    def tap(screen, picks):
        before = {"classes": screen.state.classes}
        if columns in (MODEL_BARS, ROOT_BARS) and not screen.sources(*columns):
            return {}
        element = screen.views["supplement"]._spread.panel[0].object if columns == SPREAD else None
        element = screen.views[view]._pane.object if element is None else element
        return _of_class(before, screen.mark_in(element, picks[:1], columns))

    return tap


def circle_classes(screen, picks):
    before = {"classes": screen.state.classes}
    graph = screen.views["distribution"]
    if not screen.sources(*GRAPH):
        return {}
    rows = sorted({pick % len(screen.classes) for pick in picks})
    screen.mark(graph._panes[0].object, *rows)
    ids = [screen.classes[row] for row in rows]
    if len(ids) == 1:
        return _of_class(before, ids)
    return {"classes": ids, "images": [], "filter.classes": tuple(ids), "filter.images": ()}


def pick_classes(screen, picks):
    ids = list(dict.fromkeys(pick % len(screen.classes) for pick in picks))
    if ids == screen.state.classes:
        return {}
    screen.sidebar._classes.value = list(map(str, ids))
    return {"classes": ids, "images": []}


def pick_models(screen, picks):
    models = list(dict.fromkeys(screen.models[pick % len(screen.models)] for pick in picks))
    screen.sidebar._models.value = models
    return {"models": models}


def pick_images(screen, picks):
    strip = screen.views["explanations"]._strip
    ids = [item["id"] for item in strip.items]
    chosen = list(dict.fromkeys(ids[pick % len(ids)] for pick in picks)) if ids else []
    strip.selected = chosen
    return {"images": chosen}


def circle_images(screen, picks):
    ids = sorted({pick % 256 for pick in picks})
    screen.views["distribution"]._images_brushed(ids)
    return {"filter.images": tuple(ids)}


def tap_dot(screen, picks):
    graph, found = screen.views["supplement"]._on_classes, screen.sources(*DOTS)
    if len(graph.panel) < 2 or not screen.state.classes or not len(found[0]["label"]):
        return {}
    row = picks[0] % len(found[0]["label"])
    label = found[0]["label"][row]
    screen.mark(graph.panel[1].object, row)
    table = screen.dashboard.warehouse.models()
    return {"model": str(table["model"][list(table["label"]).index(label)])}


def answers(screen, picks):
    said = ("", "right", "wrong")[picks[0] % 3]
    screen.ask(answers=said)
    return {"filter.correct": {"": None, "right": True, "wrong": False}[said]}


def bounds(screen, picks):
    low, high = ((None, *(i / 10 for i in range(11)))[pick % 12] for pick in (picks[0], picks[-1] // 12))
    screen.ask(bounds=[low, high])
    if low is not None and high is not None:
        low, high = sorted((low, high))
    return {"filter.min_confidence": low, "filter.max_confidence": high}


def check_roots(screen, picks):
    roots = {screen.roots[pick % len(screen.roots)] for pick in picks}
    screen.ask(roots=list(roots))
    return {"filter.roots": tuple(root for root in screen.roots if root in roots)}


def check_models(screen, picks):
    models = {screen.models[pick % len(screen.models)] for pick in picks}
    screen.ask(models=list(models))
    return {"filter.models": tuple(model for model in screen.models if model in models)}


def lift(screen, picks):
    chips = screen.dashboard.filter_bar._bar.chips
    if not chips:
        return {}
    names, _ = chips[picks[0] % len(chips)]
    screen.ask(lift=names)
    return {f"filter.{name}": getattr(Predicate(), name) for name in names.split()}


def clear_filter(screen, picks):
    screen.ask(reset=True)
    return {"filter": Predicate()}


def choose_second(screen, picks):
    model = ["", *screen.models][picks[0] % (len(screen.models) + 1)]
    screen.views["distribution"]._other.value = model
    return {"second": model}


def choose_accuracy(screen, picks):
    screen.state.accuracy = ("top1", "top5")[picks[0] % 2]
    return {"accuracy": screen.state.accuracy}


STEPS = [
    tap_model,
    circle_models,
    click_family,
    click_legend,
    tap_root,
    click_root,
    _tap_class("model-bars", MODEL_BARS),
    _tap_class("root-bars", ROOT_BARS),
    _tap_class("supplement", SPREAD),
    circle_classes,
    pick_classes,
    pick_models,
    pick_images,
    circle_images,
    tap_dot,
    answers,
    bounds,
    bounds,
    check_roots,
    check_models,
    lift,
    clear_filter,
]
