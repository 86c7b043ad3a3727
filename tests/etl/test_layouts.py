"""Layouts: the same input gives the same layout, and neighbours stay neighbours."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest

from etl import layouts
from etl.distances import class_distances


def clusters(seed, groups=6, members=8, scale=0.15, dimensions=10):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(groups, dimensions))
    return np.repeat(centres, members, axis=0) + scale * rng.normal(size=(groups * members, dimensions))


def cluster_distances(seed):
    x = clusters(seed)
    d = np.sqrt(((x[:, None] - x[None]) ** 2).sum(-1))
    return 1 - np.exp(-d)


def same_group_neighbours(layout, members=8, k=4):
    d = ((layout[:, None] - layout[None]) ** 2).sum(-1)
    np.fill_diagonal(d, np.inf)
    group = np.arange(len(layout)) // members
    return (group[np.argsort(d, axis=1)[:, :k]] == group[:, None]).mean()


def test_class_layouts_are_deterministic_and_keep_neighbours():
    distances = [cluster_distances(seed) for seed in range(3)]
    anchors = [layouts.class_anchor(layouts.mean_distances(distances)) for _ in range(2)]
    assert np.array_equal(*anchors)
    for d in distances:
        first, second = (layouts.class_layout(d, anchors[0]) for _ in range(2))
        assert np.array_equal(first, second)
        assert same_group_neighbours(first) > 0.9


def test_another_process_gives_the_same_class_layouts():
    """Bit for bit, whatever number of threads the libraries may use there."""
    distances = [drawn_distances(seed) for seed in range(2)]
    common = layouts.mean_distances(distances)
    anchor = layouts.class_anchor(common)
    ours = [anchor, *(layouts.class_layout(d, anchor, common) for d in distances)]
    code = (
        "import io, sys, numpy as np; from etl import layouts;"
        "distances = list(np.load(io.BytesIO(sys.stdin.buffer.read())));"
        "common = layouts.mean_distances(distances);"
        "anchor = layouts.class_anchor(common);"
        "np.save(out := io.BytesIO(), [anchor, *(layouts.class_layout(d, anchor, common) for d in distances)]);"
        "sys.stdout.buffer.write(out.getvalue())"
    )
    sent = io.BytesIO()
    np.save(sent, distances)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "3")
    done = subprocess.run(
        [sys.executable, "-c", code], input=sent.getvalue(), env=os.environ | threads, capture_output=True, check=True
    )
    assert np.array_equal(np.load(io.BytesIO(done.stdout)), np.array(ours))


def test_classes_stay_near_the_anchor():
    distances = [cluster_distances(seed) for seed in range(2)]
    anchor = layouts.class_anchor(layouts.mean_distances(distances))
    radius = np.sqrt((anchor**2).sum(1).mean())
    a, b = (layouts.class_layout(d, anchor) for d in distances)
    assert np.median(np.linalg.norm(a - b, axis=1)) < 0.5 * radius


def drawn_distances(seed, classes=300):
    """Distances as of a good model, nearly all almost 1: many layouts are about as true to them."""
    rng = np.random.default_rng(9)
    points = rng.normal(size=(classes, 32)) + 0.6 * np.repeat(rng.normal(size=(classes // 12, 32)), 12, axis=0)
    points += 0.2 * np.random.default_rng(seed).normal(size=points.shape)
    logits = -0.1 * ((points[:, None] - points[None]) ** 2).sum(-1)
    confidences = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    distances = 1 - (confidences + confidences.T) / 2
    np.fill_diagonal(distances, 0)
    return distances


def divergence(distances, layout):
    """KL(P || Q), pair by pair."""
    p = layouts._class_affinities(distances).P.toarray()
    squared = ((layout[:, None] - layout[None]) ** 2).sum(-1)
    q = 1 / (1 + squared)
    np.fill_diagonal(q, 0)
    q /= q.sum()
    return (p[p > 0] * np.log(p[p > 0] / q[p > 0])).sum()


def moved(a, b):
    return np.median(np.linalg.norm(a - b, axis=1)) / np.sqrt((a**2).sum(1).mean())


def test_what_models_have_in_common_keeps_classes_in_place():
    distances = [drawn_distances(seed) for seed in range(2)]
    common = layouts.mean_distances(distances)
    anchor = layouts.class_anchor(common)
    alone = [layouts.class_layout(d, anchor) for d in distances]
    together = [layouts.class_layout(d, anchor, common) for d in distances]
    assert moved(*together) < 0.8 * moved(*alone)
    for d, own, towards in zip(distances, alone, together, strict=True):
        assert divergence(d, towards) <= layouts.TOLERANCE * divergence(d, own)


def test_what_models_do_not_have_in_common_does_not():
    """Of classes that two models see quite differently each keeps its own layout."""
    distances = [cluster_distances(0), cluster_distances(1)[np.ix_(*[np.random.default_rng(0).permutation(48)] * 2)]]
    common = layouts.mean_distances(distances)
    anchor = layouts.class_anchor(common)
    for d in distances:
        assert np.array_equal(layouts.class_layout(d, anchor, common), layouts.class_layout(d, anchor))


def test_the_divergence_is_that_of_the_equations():
    distances = cluster_distances(3)
    layout = np.random.default_rng(0).normal(size=(48, 2))
    found = layouts._divergence(layouts._class_affinities(distances).P, layout)
    assert found == pytest.approx(divergence(distances, layout), rel=1e-12)


def test_image_layout_is_deterministic_and_keeps_neighbours():
    embedding = layouts.principal_components(clusters(1))
    first, second = (layouts.image_layout(embedding) for _ in range(2))
    assert np.array_equal(first, second)
    assert same_group_neighbours(first) > 0.9


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 8, 9])
def test_few_points(count):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rng = np.random.default_rng(count)
        distances = class_distances(np.arange(count), rng.dirichlet(np.ones(count), count))
        anchor = layouts.class_anchor(distances)
        for layout in (
            anchor,
            layouts.class_layout(distances, anchor),
            layouts.image_layout(rng.normal(size=(count, 4))),
        ):
            assert layout.shape == (count, 2)
            assert np.isfinite(layout).all()


@pytest.mark.parametrize("count", [2, 12])
def test_points_that_are_all_alike(count):
    distances = np.ones((count, count)) - np.eye(count)
    assert np.isfinite(layouts.class_layout(distances, layouts.class_anchor(distances))).all()
    same = layouts.image_layout(layouts.principal_components(np.ones((count, 5))))
    assert np.isfinite(same).all()


def test_classes_without_images_have_no_place():
    distances = cluster_distances(0)
    distances[5], distances[:, 5] = np.nan, np.nan
    anchor = layouts.class_anchor(distances)
    layout = layouts.class_layout(distances, anchor)
    for points in (anchor, layout):
        assert np.isnan(points[5]).all()
        assert np.isfinite(np.delete(points, 5, axis=0)).all()


def test_mean_over_the_models_that_know_a_pair():
    a, b = np.array([[0, 0.2], [0.2, 0]]), np.array([[0, np.nan], [np.nan, np.nan]])
    assert layouts.mean_distances([a, b]).tolist() == [[0, 0.2], [0.2, 0]]
    assert np.isnan(layouts.mean_distances([b])[1]).all()


@pytest.mark.parametrize("shape", [(50, 8), (8, 50), (20, 20), (3, 100), (1, 4), (10, 1)])
def test_principal_components_equal_the_svd(shape):
    x = np.random.default_rng(0).normal(size=shape)
    projected = layouts.principal_components(x, components=4)
    centred = x - x.mean(0)
    singular = np.linalg.svd(centred, compute_uv=False)
    kept = min(4, *shape)
    assert projected.shape == (shape[0], kept)
    norms = np.linalg.norm(projected, axis=0)
    np.testing.assert_allclose(norms, singular[:kept], atol=1e-6 * max(1, singular[0]))


def test_classical_mds_recovers_a_plane():
    points = np.random.default_rng(0).normal(size=(12, 2))
    d = np.linalg.norm(points[:, None] - points[None], axis=-1)
    found = layouts.classical_mds(d)
    np.testing.assert_allclose(np.linalg.norm(found[:, None] - found[None], axis=-1), d, atol=1e-9)
