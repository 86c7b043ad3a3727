"""The products of :mod:`etl.explain.connected`, compiled."""

from __future__ import annotations

import numpy as np
from numba import carray, cfunc, njit

from etl.explain.loops.numbers import COMPILED
from etl.explain.loops.openmp import SIGNATURE, part_of

TOGETHER = 8
"""Outputs whose gradients are brought back at once."""

_OUTPUTS = 4
"""Outputs that are computed at once, for which a row is read once; there are at least so many."""

_BLOCK = 1024
"""Inputs whose gradients stay near the processor while all outputs are gone through."""

_LINE = 16
"""Numbers that threads do not share."""

_F, _U = np.float32, np.uint64


@njit(**COMPILED | {"fastmath": {"contract", "reassoc"}})
def _forwards(rows, weights, outputs, shape, first, last):
    """Write the outputs (B, D) of rows (B, C) from the first to before the last group; all arrays are flat."""
    batch, count, width = shape
    length = _U(width)
    for group in range(first, last):
        output = min(group * _OUTPUTS, count - _OUTPUTS)  # some of the last group may be those of another, too
        of0 = _U(output * width)
        of1, of2, of3 = of0 + length, of0 + _U(2) * length, of0 + _U(3) * length
        for row in range(batch):
            start, to = _U(row * width), row * count + output
            sum0, sum1, sum2, sum3 = _F(0), _F(0), _F(0), _F(0)
            for c in range(length):
                value = rows[start + c]
                sum0 += value * weights[of0 + c]
                sum1 += value * weights[of1 + c]
                sum2 += value * weights[of2 + c]
                sum3 += value * weights[of3 + c]
            outputs[to], outputs[to + 1], outputs[to + 2], outputs[to + 3] = sum0, sum1, sum2, sum3


@njit(**COMPILED)
def _backwards(gradients, reached, weights, results, shape, first, last):
    """Write some columns of the gradients of the inputs (B, C); all arrays are flat.

    Parameters
    ----------
    gradients
        (B, reached outputs), of the outputs.
    reached
        Which outputs these are, a multiple of :data:`TOGETHER`.
    """
    batch, count, width = shape
    for left in range(first, last, _BLOCK):
        columns = _U(min(_BLOCK, last - left))
        for row in range(batch):
            to = _U(row * width + left)
            for c in range(columns):
                results[to + c] = 0
        for k in range(0, count, TOGETHER):
            of0, of1 = _U(reached[k] * width + left), _U(reached[k + 1] * width + left)
            of2, of3 = _U(reached[k + 2] * width + left), _U(reached[k + 3] * width + left)
            of4, of5 = _U(reached[k + 4] * width + left), _U(reached[k + 5] * width + left)
            of6, of7 = _U(reached[k + 6] * width + left), _U(reached[k + 7] * width + left)
            for row in range(batch):
                g = gradients[row * count + k : row * count + k + TOGETHER]
                g0, g1, g2, g3, g4, g5, g6, g7 = g[0], g[1], g[2], g[3], g[4], g[5], g[6], g[7]
                to = _U(row * width + left)
                for c in range(columns):
                    value = g0 * weights[of0 + c] + g1 * weights[of1 + c]
                    value += g2 * weights[of2 + c] + g3 * weights[of3 + c]
                    value += g4 * weights[of4 + c] + g5 * weights[of5 + c]
                    results[to + c] += value + g6 * weights[of6 + c] + g7 * weights[of7 + c]


def compiled(kind):
    """Compile what :func:`etl.explain.loops.openmp.in_parallel` runs for arrays of a kind: forwards and backwards."""

    @cfunc(SIGNATURE, cache=True)
    def forwards_part(job):
        numbers = carray(job[0], (3,), np.int64)
        batch, count, width = numbers[0], numbers[1], numbers[2]
        rows, weights = carray(job[1], (batch * width,), kind), carray(job[2], (count * width,), kind)
        first, last = part_of((count + _OUTPUTS - 1) // _OUTPUTS)
        outputs = carray(job[3], (batch * count,), kind)
        _forwards(rows, weights, outputs, (batch, count, width), first, last)

    @cfunc(SIGNATURE, cache=True)
    def backwards_part(job):
        numbers = carray(job[0], (4,), np.int64)
        batch, count, width, outputs = numbers[0], numbers[1], numbers[2], numbers[3]
        gradients, reached = carray(job[1], (batch * count,), kind), carray(job[2], (count,), np.int64)
        weights, results = carray(job[3], (outputs * width,), kind), carray(job[4], (batch * width,), kind)
        first, last = part_of((width + _LINE - 1) // _LINE)
        first, last = first * _LINE, min(width, last * _LINE)
        _backwards(gradients, reached, weights, results, (batch, count, width), first, last)

    return forwards_part, backwards_part
