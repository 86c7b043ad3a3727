"""Rows of a comparison as the controller keeps them, without a model having run."""

from __future__ import annotations

import dataclasses

import numpy as np

from vacpanel.controller import Row
from vacpanel.media import Media

MODELS = ["demo:resnet18", "demo:alexnet"]
RNG = np.random.default_rng(0)


def a_row(opened, model=MODELS[0], image_id=7, method="grad-cam", **fields):
    card, image = opened.model_row(model), opened.image(image_id)
    facts = {
        "label": card.label,
        "key": card.key,
        "top1": card.top1,
        "class_id": image.class_id,
        "class_name": image.class_name,
        "class_top1": 0.75,
        "predicted_class_name": "moon",
        "predicted_class_id": 9,
        "confidence": 0.5,
        "correct": False,
    }
    return Row(model, image_id, method, facts, **fields)


def finished(row, **found):
    attention = RNG.random((6, 6)).astype(np.float32)
    found = {"target_class_id": 9, "roi_area": 0.2, "seconds": 0.25, "cached": False, "flags": []} | found
    # No store has this map; its name does.
    name = Media.preview(row.image_id, row.facts["key"], attention)
    return dataclasses.replace(row, status="done", attention=attention, digest=name, facts=row.facts | found)
