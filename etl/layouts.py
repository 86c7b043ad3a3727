"""Two-dimensional layouts by t-SNE: of the classes in a model's predictions, of the images in its features.

Every function is deterministic bit for bit on one machine: starting positions come from eigenvectors with fixed signs,
never from random numbers, and everything runs in one thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from threadpoolctl import threadpool_limits

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Array = NDArray[np.float64]

PERPLEXITY = 30.0
"""Effective number of neighbours (van der Maaten & Hinton 2008), for 240 points and more."""

FEWEST_POINTS = 8
"""Below this number of points there are no neighbourhoods to keep, and the starting positions are the layout."""

TOLERANCE = 1.02
"""How much the divergence of a layout may grow to be more like those of other models."""

PRINCIPAL_COMPONENTS = 64
"""Features are reduced to this many dimensions before t-SNE."""

_FEW_POINTS = 64
"""Fewer points do not gather in clusters that exaggeration could sort out: it draws them all into one point."""

_SEVERAL_POINTS = 500

_MANY_POINTS = 5000

_SHARES = (0.5, 0.25)
"""Of the common affinities in the mixture, the first that is tolerable."""


def mean_distances(distances: list[Array]) -> Array:
    """Average over models, pair by pair over those models that know the pair; NaN if none does.

    Parameters
    ----------
    distances
        Matrices of :func:`etl.distances.class_distances`, all (N, N).
    """
    total, known = np.zeros_like(distances[0]), np.zeros(distances[0].shape, np.int64)
    for matrix in distances:
        finite = np.isfinite(matrix)
        total[finite] += matrix[finite]
        known += finite
    with np.errstate(invalid="ignore"):
        return np.where(known > 0, total / known, np.nan)


def class_anchor(distances: Array) -> Array:
    """Lay out the mean distances of all models, from which each model's layout starts.

    Parameters
    ----------
    distances
        (N, N), see :func:`mean_distances`; NaN for classes without images.

    Returns
    -------
    ndarray of float64, shape (N, 2)
        NaN for classes without images.
    """
    present = np.flatnonzero(np.isfinite(np.diagonal(distances)))
    anchor = np.full((len(distances), 2), np.nan)
    known = _fill(distances[np.ix_(present, present)])
    start = classical_mds(known)
    if len(present) < FEWEST_POINTS:
        anchor[present] = start
    elif len(present) < _FEW_POINTS:
        anchor[present] = _optimise(_scale(start, 1.0), _class_affinities(known), early=None, iterations=500)
    else:
        anchor[present] = _optimise(_scale(start, 1e-4), _class_affinities(known), early=(250, 12.0), iterations=500)
    return anchor


def class_layout(distances: Array, anchor: Array, common: Array | None = None) -> Array:
    """Lay out one model's class distances, aligned to the other models' by its start and by what they have in common.

    t-SNE starts from the anchor at full scale and without exaggeration, so that a class stays where it was unless the
    model says otherwise; no rotation is needed afterwards. Then the model's affinities are mixed with those of all
    models, half and half or else three to one: among the many layouts that are about as true to the model, that is one
    which resembles the others. It counts only if its divergence from the model's own affinities is at most
    `TOLERANCE` times that of the layout of these alone, which is returned otherwise.

    Mixing is ours; the paper draws layouts of models independently of each other.

    Parameters
    ----------
    distances
        (N, N), of one model.
    anchor
        (N, 2), see :func:`class_anchor`.
    common
        (N, N), of all models, see :func:`mean_distances`; without it affinities are not mixed.

    Returns
    -------
    ndarray of float64, shape (N, 2)
        NaN for classes without images.
    """
    present = np.flatnonzero(np.isfinite(np.diagonal(distances)))
    layout = np.full((len(distances), 2), np.nan)
    if len(present) < FEWEST_POINTS:
        layout[present] = anchor[present]
        return layout
    # Steps are as long as there are points: a thousand classes have come to rest after a hundred, a few after more.
    iterations = 100 if len(present) >= _SEVERAL_POINTS else 250
    start, pairs = anchor[present], np.ix_(present, present)
    own = _class_affinities(_fill(distances[pairs]))
    layout[present] = alone = _optimise(start, own, early=None, iterations=iterations)
    if common is None:
        return layout
    theirs, allowed = _class_affinities(_fill(common[pairs])).P, TOLERANCE * _divergence(own.P, alone)
    for share in _SHARES:
        mixed = _affinities((1 - share) * own.P + share * theirs)
        towards = _optimise(start, mixed, early=None, iterations=iterations)
        if _divergence(own.P, towards) <= allowed:
            layout[present] = towards
            break
    return layout


def image_layout(embedding: Array) -> Array:
    """Lay out images by their features.

    Parameters
    ----------
    embedding
        (M, d), see :func:`principal_components`.

    Returns
    -------
    ndarray of float64, shape (M, 2)
    """
    points = len(embedding)
    start = np.zeros((points, 2))
    start[:, : min(2, embedding.shape[1])] = embedding[:, :2]
    if points < FEWEST_POINTS:
        return start
    from openTSNE.affinity import PerplexityBasedNN

    many = points > _MANY_POINTS
    affinities = PerplexityBasedNN(
        embedding,
        perplexity=_perplexity(points),
        # Exact neighbours cost points^2; the approximate ones of annoy are seeded.
        method="annoy" if many else "exact",
        n_jobs=1,
        random_state=0,
    )
    # At a few thousand points 225 iterations give the neighbours that 750 give, in a third of the time.
    early, iterations = ((250, 12.0), 500) if many else ((75, 12.0), 150)
    return _optimise(_scale(start, 1e-4), affinities, early=early, iterations=iterations)


def principal_components(features: NDArray[np.floating], components: int = PRINCIPAL_COMPONENTS) -> Array:
    """Project features onto their principal components.

    Parameters
    ----------
    features
        (M, d).
    components
        Largest number of components.

    Returns
    -------
    ndarray of float64, shape (M, min(components, M, d))
        Centred; the signs are such that each axis' largest loading is positive.
    """
    x = np.asarray(features, np.float64)
    x = x - x.mean(axis=0)
    kept = min(components, *x.shape)
    with threadpool_limits(1, user_api="blas"):
        if x.shape[1] <= x.shape[0]:
            _, axes = _largest_eigenvectors(x.T @ x, kept)
        else:
            values, vectors = _largest_eigenvectors(x @ x.T, kept)
            axes = x.T @ (vectors / np.sqrt(np.maximum(values, 1e-30)))
        return x @ _fix_signs(axes)


def classical_mds(distances: Array) -> Array:
    """Classical multidimensional scaling to two dimensions (Torgerson 1952).

    Parameters
    ----------
    distances
        (n, n), finite, symmetric.

    Returns
    -------
    ndarray of float64, shape (n, 2)
    """
    n = len(distances)
    layout = np.zeros((n, 2))
    if n < 2:
        return layout
    squared = distances**2
    centred = -0.5 * (squared - squared.mean(0) - squared.mean(1)[:, None] + squared.mean())
    with threadpool_limits(1, user_api="blas"):
        values, vectors = _largest_eigenvectors(centred, min(2, n))
    axes = _fix_signs(vectors) * np.sqrt(np.maximum(values, 0))
    layout[:, : axes.shape[1]] = axes
    return layout


def _class_affinities(distances: Array) -> Any:
    from openTSNE.affinity import PerplexityBasedNN

    return PerplexityBasedNN(
        distances, perplexity=_perplexity(len(distances)), metric="precomputed", n_jobs=1, random_state=0
    )


def _affinities(joint: csr_matrix) -> Any:
    from openTSNE.affinity import PrecomputedAffinities

    return PrecomputedAffinities(joint, normalize=True)


def _divergence(joint: csr_matrix, layout: Array) -> float:
    """Kullback-Leibler divergence of a layout from joint probabilities (van der Maaten & Hinton 2008, eq. 2 to 4)."""
    from scipy.spatial.distance import cdist

    total = 0.0
    for rows in np.array_split(layout, -(-len(layout) // 1000)):
        total += float((1 / (1 + cdist(rows, layout, "sqeuclidean"))).sum())
    pairs = joint.tocoo()
    p, near = pairs.data, pairs.data > 0
    squared = ((layout[pairs.row] - layout[pairs.col]) ** 2).sum(axis=1)
    q = 1 / (1 + squared) / (total - len(layout))  # without the points themselves
    return float((p[near] * np.log(p[near] / q[near])).sum())


def _optimise(start: Array, affinities: Any, early: tuple[int, float] | None, iterations: int) -> Array:
    from openTSNE import TSNEEmbedding

    # One thread: with more, the workers spin and are slower by an order of magnitude on a busy machine. Barnes-Hut up
    # to where interpolation (FIt-SNE) wins.
    method = "fft" if len(start) > _MANY_POINTS else "bh"
    embedding = TSNEEmbedding(start.copy(), affinities, negative_gradient_method=method, n_jobs=1, random_state=0)
    if early is not None:
        embedding = embedding.optimize(early[0], exaggeration=early[1], momentum=0.5)
    embedding = embedding.optimize(iterations, exaggeration=1, momentum=0.8)
    layout = np.array(embedding, np.float64)
    return layout - layout.mean(axis=0)


def _perplexity(points: int) -> float:
    # An eighth of the points, at least 5: with (n - 1) / 3 neighbours, 64 classes of an accurate model collapse into a
    # ring, and fewer of a class's nearest classes stay near it. A third of the points is all that openTSNE accepts.
    return min(PERPLEXITY, max(5.0, points / 8), (points - 1) / 3)


def _scale(start: Array, wanted: float) -> Array:
    """Scale to a standard deviation along the first axis; t-SNE is usually started at 1e-4."""
    spread = start[:, 0].std()
    # All points in one place have no gradient: draw them up in a line then.
    return start / spread * wanted if spread > 0 else np.linspace(-wanted, wanted, len(start))[:, None] * [1.0, 0.5]


def _fill(distances: Array) -> Array:
    """Pairs of classes that no model has seen together count as far apart."""
    return np.where(np.isfinite(distances), distances, 1.0)


def _largest_eigenvectors(symmetric: Array, count: int) -> tuple[Array, Array]:
    """Eigenvalues in descending order, (count,), and their eigenvectors as columns."""
    n = len(symmetric)
    values, vectors = eigh(symmetric, subset_by_index=[n - count, n - 1])
    return values[::-1], vectors[:, ::-1]


def _fix_signs(axes: Array) -> Array:
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    return axes * np.where(signs == 0, 1, signs)
