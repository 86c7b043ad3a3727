"""Algorithm 1 on real predictions: the demo's, from the images to the relation that people query."""

from __future__ import annotations

import numpy as np
import torch

import warehouse
from etl import class_distances
from etl.images import open_image
from etl.models import resolve

MODEL = "demo:squeezenet1_1"


def printed(labels, confidences):
    """Algorithm 1 of the paper, line by line."""
    n = confidences.shape[1]
    distance, count = np.zeros((n, n)), np.zeros((n, n))
    for image in range(len(labels)):
        current = labels[image]
        p = confidences[image, :]
        for other in range(n):
            count[current, other] += 1
            if other != current:
                distance[current, other] += 1 - p[other]
    distance = np.divide(distance, count)
    return (distance + distance.T) / 2


def test_the_streamed_sums_and_the_relation_equal_the_printed_loops(demo_warehouse):
    with warehouse.open(demo_warehouse) as opened:
        images = opened.sql("SELECT image_id, class_id FROM images ORDER BY image_id").fetchall()
        files = [opened.image(image_id).file for image_id, _ in images]
        pairs = opened.sql(
            "SELECT class_id, other_class_id, distance FROM class_distances WHERE model = ?", [MODEL]
        ).fetchall()
    model = resolve(MODEL).load()
    pixels = torch.stack([model.preprocess.pixels(open_image(file)) for file in files])
    with torch.inference_mode():
        confidences = torch.softmax(model.module(model.preprocess.batch(pixels)), dim=1).double().numpy()
    labels = np.array([class_id for _, class_id in images])

    expected = printed(labels, confidences)
    assert np.abs(class_distances(labels, confidences) - expected).max() <= 1e-12
    relation = np.full_like(expected, np.nan)
    for a, b, distance in pairs:
        relation[a, b] = distance
    # The ETL's own forward passes ran in other batches, in float32.
    assert np.abs(relation - expected).max() <= 1e-5
    assert (np.diagonal(relation) == 0).all()
    assert (relation == relation.T).all()
