"""A comparison as one HTML file that opens anywhere: pictures inside, no script, nothing that is loaded."""

from __future__ import annotations

import itertools
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
from jinja2 import Environment
from PIL import Image

from vacpanel import __version__, link, methods, render
from vacpanel.browser import document, style
from vacpanel.explained import ExplainedMaps, data_uri, names_of
from vacpanel.views.figures import shaded
from vacpanel.views.similarity import KNOWN
from vacpanel.words import count, short_number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jinja2 import Template

    from vacpanel.controller import Row
    from vacpanel.state import Selection
    from warehouse import Warehouse


def report(warehouse: Warehouse, state: Selection, rows: Sequence[Row], address: str = "") -> str:
    """Return a finished comparison as a page of its own.

    All pictures are inside, and a browser is forbidden to load anything else or to run a script. Names come from
    folders and checkpoints: the template escapes all of them.

    Parameters
    ----------
    warehouse
        Of the models and images.
    state
        What was selected; the page's link selects it again.
    rows
        The maps, in order.
    address
        Where the dashboard is served, such as ``http://localhost:5006/app``; without it, or if it is no web address,
        the page names the selection instead of linking to it.
    """
    query = link.write(state)
    web = urlsplit(address).scheme in {"http", "https"}
    done = [row for row in rows if row.finished or row.attention is not None]
    explained = ExplainedMaps(warehouse, done, state.threshold)
    at = {id(row): i for i, row in enumerate(done)}
    images = [
        _image(warehouse, state, explained, [(at[id(row)], row) for row in of_image])
        for _, of_image in itertools.groupby(done, lambda row: row.image_id)
    ]
    of_models = list(dict.fromkeys(row.model for row in done))
    return _template().render(
        title=f"{count(len(of_models), 'model')} on {count(len(images), 'image')}",
        style=style("report"),
        made=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        version=__version__,
        folder=warehouse.root.name,
        facts=_facts(warehouse),
        link=address.partition("?")[0] + query if web else "",
        query=query,
        models=_models(warehouse, state, of_models),
        settings=_settings(state, done),
        images=images,
        scale=data_uri(Image.fromarray(render.color_scale()[None]), "PNG"),
    )


@cache
def _template() -> Template:
    return Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(document("report"))


def _facts(warehouse: Warehouse) -> str:
    held = warehouse.summary()
    numbers = (held.models, "model"), (held.classes, "class"), (held.images, "image")
    return ", ".join(count(number, noun) for number, noun in numbers)


def _models(warehouse: Warehouse, state: Selection, names: Sequence[str]) -> list[dict[str, str]]:
    """Return what is known of the compared models, best first; their accuracy under the filter."""
    tally = warehouse.tally(state.filter.without("models", "correct"))
    found = tally.model_accuracy()
    top1 = dict(zip(map(str, found["model"]), zip(found["top1"], found["top5"], strict=True), strict=True))
    rows = [(top1.get(name, (np.nan, np.nan)), warehouse.model_row(name)) for name in names]
    rows.sort(key=lambda pair: -np.nan_to_num(pair[0][0]))
    return [
        {
            "label": row.label,
            "family": row.family,
            "parameters": short_number(row.parameters),
            "flops": short_number(np.nan if row.flops is None else row.flops),
            "top1": _percent(one),
            "top5": _percent(five),
        }
        for (one, five), row in rows
    ]


def _settings(state: Selection, rows: Sequence[Row]) -> list[tuple[str, str]]:
    target = state.target_class
    used = dict.fromkeys(row.method for row in rows)
    how = [
        ", ".join([methods.title(name), *(f"{key} {value}" for key, value in state.parameters.get(name, {}).items())])
        for name in used
    ]
    return [
        ("Explained with", "; ".join(how)),
        ("Explained class", f"class {target}" if isinstance(target, int) else f"the {target} one"),
        ("Threshold of attention", f"{state.threshold:.0%}"),
        ("Filter", state.filter.sql() if state.filter else "none"),
    ]


def _image(
    warehouse: Warehouse, state: Selection, explained: ExplainedMaps, rows: Sequence[tuple[int, Row]]
) -> dict[str, Any]:
    """Return the maps of one image, and how alike they are."""
    image = warehouse.image(rows[0][1].image_id)
    return {
        "name": image.path,
        "class_name": image.class_name,
        "root_class": image.root_class,
        "rows": [_map(state, explained, at, row, names_of(warehouse)) for at, row in rows],
        "similarity": _similarity(warehouse, state, [row for _, row in rows]),
    }


def _map(state: Selection, explained: ExplainedMaps, at: int, row: Row, names: Mapping[int, str]) -> dict[str, Any]:
    facts, attention = row.facts, explained.maps[at]
    pictures = {}
    if attention is not None:
        picture = explained.picture(at)
        pictures = {
            "picture": data_uri(render.enlarged(picture)),
            "heatmap": data_uri(explained.heatmap(at)),
            "region": data_uri(render.masked(picture, attention, state.threshold)),
        }
    target = facts.get("target_class_id")
    return {
        "label": facts["label"],
        "method": methods.title(row.method),
        "predicted": facts.get("predicted_class_name", ""),
        "right": facts.get("correct"),
        "confidence": _percent(facts.get("confidence")),
        "target": names.get(target, "") if target is not None else "",
        "top1": _percent(facts.get("top1")),
        "class_top1": _percent(facts.get("class_top1")),
        "area": _percent(None if attention is None else float(np.mean(attention >= state.threshold))),
        "note": row.error or "; ".join(facts.get("flags", ())) or ("a preview" if row.status == "stopped" else ""),
        **pictures,
    }


def _similarity(warehouse: Warehouse, state: Selection, rows: Sequence[Row]) -> dict[str, Any] | None:
    """Return the similarity matrix of the maps of an image as a table; None if there is nothing to compare."""
    there = [row for row in rows if row.visible]
    if len(there) < 2:
        return None
    values = ExplainedMaps(warehouse, there).similarity(state.measure)
    known = next(measure for measure in KNOWN if measure["name"] == state.measure)
    several = len({row.method for row in there}) > 1
    labels = [f"{row.facts['label']}, {methods.title(row.method)}" if several else row.facts["label"] for row in there]
    shades = shaded(values, known["best"])
    cells = [
        [(f"{value:.3f}", *colours) for value, colours in zip(*line, strict=True)]
        for line in zip(values.tolist(), shades, strict=True)
    ]
    return {
        "title": known["title"],
        "says": known["says"],
        "labels": labels,
        "rows": list(zip(labels, cells, strict=True)),
    }


def _percent(share: float | None) -> str:
    return "" if share is None or share != share else f"{share:.1%}"
