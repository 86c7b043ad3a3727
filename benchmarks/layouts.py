"""Class layouts, aligned and independent: ``python -m benchmarks.layouts``.

The distance matrices are those of a real warehouse (``--warehouse DIR``), or drawn: classes are points in 32
dimensions, in groups of groups; each model sees them displaced by noise of its own and with a sharpness of its own, and
is confident in a class as a softmax of squared distances says, averaged over 50 images. As with real models most pairs
of classes are then almost one apart, and independent layouts of two models differ by half their radius and more.

Independent layouts start at random and are optimised as usual (250 iterations with exaggeration 12, then 500). Movement
is the median distance between a class in two models' layouts after Procrustes (turned, mirrored, centred, scaled to a
root mean square radius of 1), averaged over pairs of models. Ends with status 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import os
import subprocess
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

import warehouse
from benchmarks.timing import machine
from etl import layouts

Array = NDArray[np.float64]

SECONDS, MOVEMENT, DIVERGENCE = 1.5, 0.25, 1.03
"""What is allowed: seconds a model, and aligned layouts relative to independent ones."""


# Distances -------------------------------------------------------------------------------------------------------


def drawn_distances(models: int, classes: int, images: int = 50) -> list[Array]:
    """Draw the distance matrices (Algorithm 1) of some models on the same classes."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(classes, 32))
    for members, weight in ((80, 0.6), (12, 0.6)):
        groups = -(-classes // members)
        points += weight * np.repeat(rng.normal(size=(groups, 32)), members, axis=0)[:classes]
    return [_distances_of(rng, points, images, noise, sharpness) for noise, sharpness in _characters(rng, models)]


def _characters(rng: np.random.Generator, models: int) -> list[tuple[float, float]]:
    """Draw how each model differs: from good (little noise, sharp) to bad."""
    return list(zip(np.linspace(0.2, 0.5, models), rng.uniform(0.07, 0.11, models), strict=True))


def _distances_of(rng: np.random.Generator, points: Array, images: int, noise: float, sharpness: float) -> Array:
    seen = points + noise * rng.normal(size=points.shape)
    confidences = np.empty((len(points), len(points)))
    for class_id in range(len(points)):
        image = seen[class_id] + 0.8 * rng.normal(size=(images, points.shape[1]))
        squared = (image**2).sum(1)[:, None] + (seen**2).sum(1) - 2 * image @ seen.T
        logits = -sharpness * squared
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        confidences[class_id] = (weights / weights.sum(axis=1, keepdims=True)).mean(axis=0)
    distances = 1 - (confidences + confidences.T) / 2
    np.fill_diagonal(distances, 0)
    return distances


def stored_distances(folder: str) -> list[Array]:
    """Return the distance matrices of a published warehouse's models."""
    with warehouse.open(folder) as opened:
        classes = opened.summary().classes
        found = []
        for model in opened.models()["model"]:
            rows = opened.sql(
                "SELECT class_id, other_class_id, distance FROM class_distances WHERE model = ?", [model]
            ).fetchnumpy()
            distances = np.full((classes, classes), np.nan)
            distances[rows["class_id"], rows["other_class_id"]] = rows["distance"]
            found.append(distances)
    return found


# Layouts ---------------------------------------------------------------------------------------------------------


def aligned(distances: list[Array]) -> list[Array]:
    """Lay out all models as the ETL does."""
    common = layouts.mean_distances(distances)
    anchor = layouts.class_anchor(common)
    return [layouts.class_layout(matrix, anchor, common) for matrix in distances]


def independent(distances: Array, seed: int) -> Array:
    """Lay out one model as one would without the others; all classes must have images."""
    from openTSNE import TSNEEmbedding

    start = np.random.default_rng(seed).normal(0, 1e-4, (len(distances), 2))
    embedding = TSNEEmbedding(start, affinities(distances), negative_gradient_method="bh", n_jobs=1)
    embedding = embedding.optimize(250, exaggeration=12, momentum=0.5).optimize(500, exaggeration=1, momentum=0.8)
    return np.array(embedding, np.float64)


def affinities(distances: Array) -> Any:
    from openTSNE.affinity import PerplexityBasedNN

    perplexity = layouts._perplexity(len(distances))
    return PerplexityBasedNN(distances, perplexity=perplexity, metric="precomputed", n_jobs=1, random_state=0)


def divergence(distances: Array, layout: Array) -> float:
    """Return what t-SNE minimises, computed exactly: KL(P || Q)."""
    p = affinities(distances).P.toarray()
    squared = ((layout[:, None] - layout[None]) ** 2).sum(axis=2)
    q = 1 / (1 + squared)
    np.fill_diagonal(q, 0)
    q /= q.sum()
    near = p > 0
    return float((p[near] * np.log(p[near] / q[near])).sum())


def movement(one: Array, other: Array) -> float:
    """Return the median distance of a class between two layouts after Procrustes, in root mean square radii."""
    a, b = (layout - layout.mean(axis=0) for layout in (one, other))
    a, b = (layout / np.sqrt((layout**2).sum(axis=1).mean()) for layout in (a, b))
    u, _, v = np.linalg.svd(b.T @ a)
    return float(np.median(np.linalg.norm(a - b @ (u @ v), axis=1)))


def mean_movement(layouts_of_models: list[Array]) -> float:
    return float(np.mean([movement(one, other) for one, other in itertools.combinations(layouts_of_models, 2)]))


def digest(layouts_of_models: list[Array]) -> str:
    return hashlib.sha256(b"".join(layout.tobytes() for layout in layouts_of_models)).hexdigest()


def digest_elsewhere(models: int, classes: int, threads: int) -> str:
    """Lay out the same drawn distances in another process with another number of threads."""
    code = f"from benchmarks.layouts import *\nprint(digest(aligned(drawn_distances({models}, {classes}))))"
    limits = {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | limits, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=13)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--warehouse", help="take the distances of a warehouse's models instead")
    options = parser.parse_args()
    print(machine("openTSNE", "numpy", "scipy"))
    if options.warehouse:
        distances = stored_distances(options.warehouse)
    else:
        distances = drawn_distances(options.models, options.classes)
    apart = distances[0][~np.eye(len(distances[0]), dtype=bool)]
    print(f"{len(distances)} models x {len(distances[0])} classes", end="; distances of the first: ")
    print(f"median {np.median(apart):.5f}, 1 % quantile {np.quantile(apart, 0.01):.5f}")

    started = time.perf_counter()
    ours = aligned(distances)
    seconds = (time.perf_counter() - started) / len(distances)
    started = time.perf_counter()
    theirs = [independent(matrix, seed) for seed, matrix in enumerate(distances)]
    alone = (time.perf_counter() - started) / len(distances)
    moved, moved_alone = mean_movement(ours), mean_movement(theirs)
    divergences, divergences_alone = (
        np.mean([divergence(matrix, layout) for matrix, layout in zip(distances, which, strict=True)])
        for which in (ours, theirs)
    )
    same = digest(ours) == digest(aligned(distances))
    if not options.warehouse:
        few = min(3, options.models)
        same = same and len({digest_elsewhere(few, options.classes, threads) for threads in (1, 2, 5)}) == 1
    rows = (
        ("seconds a model, the common start included", seconds, alone, seconds, SECONDS),
        ("movement of the median class between models", moved, moved_alone, moved / moved_alone, MOVEMENT),
        ("KL divergence", divergences, divergences_alone, divergences / divergences_alone, DIVERGENCE),
    )
    print(f"{'':44} {'aligned':>9} {'independent':>12} {'figure':>8} {'bar':>6}")
    for what, own, other, figure, bar in rows:
        print(f"{what:44} {own:9.3f} {other:12.3f} {figure:8.3f} {bar:6.2f}")
    where = "" if options.warehouse else " (also in other processes, with 1, 2 and 5 threads)"
    print(f"same input, same layout, bit for bit{where}: {same}")
    missed = [what for what, *_, figure, bar in rows if figure > bar] + ([] if same else ["same layout"])
    if missed:
        sys.exit(f"Missed: {'; '.join(missed)}.")


if __name__ == "__main__":
    main()
