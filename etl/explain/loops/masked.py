"""The sums of :mod:`etl.explain.masked`, compiled."""

from __future__ import annotations

import numpy as np
from numba import carray, cfunc, njit

from etl.explain.loops.numbers import COMPILED, clamped, read, write
from etl.explain.loops.openmp import SIGNATURE, part_of

BLOCK = 32
"""Results of one position that are made at once."""

_U = np.uint64
_N, _N2, _N3, _N4, _N5, _N6, _N7, _N8 = (_U(n * BLOCK) for n in range(1, 9))


@njit(**COMPILED)
def _blend(planes, masks, results, bias, bounds, rows, columns, shape, first, last):
    """Write some rows of the results (B, h, w, K), clamped; all arrays are flat.

    Parameters
    ----------
    planes
        (3, 3, h, w, K), of hats that are three apart.
    masks
        (B, m, n).
    rows, columns
        The first of the three hats that a row or column of the results meets.
    """
    batch, height, width, filters, down, right = shape
    low, high = bounds
    plane = height * width * filters
    near, line, hats = np.empty(9 * BLOCK, np.float32), np.empty(BLOCK, np.float32), np.empty(9, np.int64)
    for y in range(first, last):
        for x in range(width):
            for block in range(0, filters, BLOCK):
                place = (y * width + x) * filters + block
                for i in range(3):
                    for j in range(3):
                        row, column = rows[y] + i, columns[x] + j
                        hats[3 * i + j] = row * right + column
                        start, to = _U((row % 3 * 3 + column % 3) * plane + place), _U(3 * i + j) * _N
                        for c in range(_N):
                            near[to + c] = read(planes, start + c)
                for image in range(batch):
                    mask = masks[image * down * right :]
                    m0, m1, m2, m3, m4 = mask[hats[0]], mask[hats[1]], mask[hats[2]], mask[hats[3]], mask[hats[4]]
                    m5, m6, m7, m8 = mask[hats[5]], mask[hats[6]], mask[hats[7]], mask[hats[8]]
                    for c in range(_N):
                        value = m0 * near[c] + m1 * near[c + _N] + m2 * near[c + _N2] + m3 * near[c + _N3]
                        value += m4 * near[c + _N4] + m5 * near[c + _N5] + m6 * near[c + _N6] + m7 * near[c + _N7]
                        line[c] = value + m8 * near[c + _N8]
                    to, of = _U(image * plane + place), _U(block)
                    for c in range(_N):
                        write(results, to + c, clamped(line[c] + bias[of + c], low, high))


def compiled(kind):
    """Compile what :func:`etl.explain.loops.openmp.in_parallel` runs for results of a kind: some of the rows."""

    @cfunc(SIGNATURE, cache=True)
    def blend_part(job):
        numbers = carray(job[0], (6,), np.int64)
        batch, height, width, filters, down, right = (
            numbers[0],
            numbers[1],
            numbers[2],
            numbers[3],
            numbers[4],
            numbers[5],
        )
        plane = height * width * filters
        first, last = part_of(height)
        planes, masks = carray(job[1], (9 * plane,), kind), carray(job[2], (batch * down * right,), np.float32)
        results, bias = carray(job[3], (batch * plane,), kind), carray(job[4], (filters,), np.float32)
        bounds, rows = carray(job[5], (2,), np.float32), carray(job[6], (height,), np.int64)
        columns = carray(job[7], (width,), np.int64)
        shape = (batch, height, width, filters, down, right)
        _blend(planes, masks, results, bias, (bounds[0], bounds[1]), rows, columns, shape, first, last)

    return blend_part
