"""What is selected in a warehouse: by a link, at a first visit, or where somebody left the choice to us."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from etl.plugins import plugins
from vacpanel import link

if TYPE_CHECKING:
    from collections.abc import Collection

    from vacpanel.state import Selection
    from warehouse import Warehouse

COMPARED = 3  # models of a comparison that nobody chose


def open_link(warehouse: Warehouse, query: str, state: Selection) -> list[str]:
    """Select what a link says; return a sentence for everything in it that cannot be shown."""
    given = link.names(query)
    notices = link.read(query, state) + restrict(warehouse, state)
    # A link that says that nothing is pinned means it; one that names what is not there means something.
    choose_defaults(warehouse, state, but=given if not notices else set())
    return notices


def restrict(warehouse: Warehouse, state: Selection) -> list[str]:
    """Drop from a state what the warehouse does not hold; return a sentence for each."""
    known = "SELECT image_id FROM images WHERE list_contains(?::INTEGER[], image_id)"
    named = [*state.images, *state.filter.images]
    return state.restrict(
        model=map(str, warehouse.models()["model"]),
        root=warehouse.roots(),
        **{"class": map(int, warehouse.classes()["class_id"])},
        image=(image_id for (image_id,) in warehouse.sql(known, [named]).fetchall()),
        method=plugins("vacpanel.methods"),
    )


def choose_defaults(warehouse: Warehouse, state: Selection, but: Collection[str] = ()) -> None:
    """Pin the most accurate model and the root class with most classes in use, so that no view starts empty.

    Parameters
    ----------
    warehouse, state
        Where to look, and what to change.
    but
        Parameters that stay as they are.
    """
    models = warehouse.models()
    if not len(models["model"]):
        return
    if not state.model and "model" not in but:
        state.model = str(models["model"][models["top1"].argmax()])
    if not state.root and "root" not in but:
        classes = warehouse.classes()
        used = Counter(map(str, classes["root_class"][classes["images"] > 0]))
        state.root = max(warehouse.roots(), key=lambda root: used[root], default="")


def choose_comparison(warehouse: Warehouse, state: Selection, *, models: bool) -> None:
    """Select something worth a comparison where no class and no image is selected: a class on which models differ most.

    Parameters
    ----------
    warehouse, state
        Where to look, and what to change.
    models
        Whether to choose the models, too: the most accurate ones.
    """
    table = warehouse.models()
    if models and len(table["model"]):
        best = np.argsort(-np.nan_to_num(table["top1"]), kind="stable")[:COMPARED]
        state.models = [str(model) for model in table["model"][best]]
    if not state.images and not state.classes:
        spread = warehouse.tally(state.filter).class_spread()
        if len(spread["class_id"]):
            state.classes = [int(spread["class_id"][np.argmax(spread["range_top1"])])]
