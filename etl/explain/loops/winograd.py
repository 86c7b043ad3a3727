"""The transforms of :mod:`etl.explain.winograd`, compiled; what the letters mean is said there.

Arrays are flat and indices unsigned, and what is read and written side by side lies at distances that are known when
this is compiled: otherwise the compiler makes no vector instructions of it.
"""

from __future__ import annotations

import math

import numpy as np
from numba import carray, cfunc, njit

from etl.explain.loops.numbers import COMPILED, clamped, read, write
from etl.explain.loops.openmp import SIGNATURE, part_of

BLOCK, RESULTS = 64, 32
"""Channels that are transformed at once, and that are transformed back."""

_A, _B = math.sqrt(0.5), math.sqrt(2.0)
_F, _U = np.float32, np.uint64
_N = _U(BLOCK)
_N2, _N3, _N4, _N5, _N6, _N12, _N18, _N24, _N30 = (_U(n * BLOCK) for n in (2, 3, 4, 5, 6, 12, 18, 24, 30))
_M, _M2, _M3, _M4, _M5, _M6, _M12, _M18 = (_U(n * RESULTS) for n in (1, 2, 3, 4, 5, 6, 12, 18))

_NUMBERS = 11
"""Of a job: tiles, sizes of what is read and written, and the shape."""


@njit(inline="always")
def _input(d0, d1, d2, d3, d4, d5):
    """Multiply a column by B^T: coefficients of polynomials that are zero at all points but one."""
    p, q = d4 - _F(2.0) * d2, _F(_A) * (d3 - _F(2.0) * d1)
    r, s = d4 - _F(0.5) * d2, _F(_B) * (d3 - _F(0.5) * d1)
    return d0 - _F(2.5) * d2 + d4, p + q, p - q, r + s, r - s, d1 - _F(2.5) * d3 + d5


@njit(inline="always")
def _output(m0, m1, m2, m3, m4, m5):
    """Multiply a column by A^T: powers of the points."""
    p, q, r, s = m1 + m2, _F(_A) * (m1 - m2), m3 + m4, _F(_B) * (m3 - m4)
    return m0 + p + r, q + s, _F(0.5) * p + _F(2.0) * r, _F(0.5) * q + _F(2.0) * s + m5


@njit(inline="always")
def _columns(values, start, right, down, half):
    """Multiply the columns of a tile by B^T, from wherever they lie to (6, 6, channels)."""
    for j in range(6):
        first, to = start + _U(j) * right, _U(j) * _N
        for c in range(_N):
            n, k = first + c, to + c
            d0, d1, d2 = read(values, n), read(values, n + down), read(values, n + _U(2) * down)
            d3, d4 = read(values, n + _U(3) * down), read(values, n + _U(4) * down)
            d5 = read(values, n + _U(5) * down)
            t = _input(d0, d1, d2, d3, d4, d5)
            half[k], half[k + _N6], half[k + _N12], half[k + _N18], half[k + _N24], half[k + _N30] = t


@njit(**COMPILED)
def _transform(pixels, tiles, shape, first, last):
    """Write B^T d B, (T, 36, C), of some of the tiles of images (B, H, W, C); both flat."""
    height, width, channels, padding_y, padding_x, down, right, start = shape
    tile, half = np.empty(36 * BLOCK, np.float32), np.empty(36 * BLOCK, np.float32)
    for index in range(first, last):
        image, place = divmod(start + index, down * right)
        y, x = 4 * (place // right) - padding_y, 4 * (place % right) - padding_x
        inside = y >= 0 and x >= 0 and y + 6 <= height and x + 6 <= width
        for block in range(0, channels, BLOCK):
            if inside:
                pixel = _U(((image * height + y) * width + x) * channels + block)
                _columns(pixels, pixel, _U(channels), _U(width * channels), half)
            else:
                for i in range(6):
                    for j in range(6):
                        to = _U(6 * i + j) * _N
                        if 0 <= y + i < height and 0 <= x + j < width:
                            pixel = _U(((image * height + y + i) * width + x + j) * channels + block)
                            for c in range(_N):
                                tile[to + c] = read(pixels, pixel + c)
                        else:
                            for c in range(_N):
                                tile[to + c] = _F(0.0)
                _columns(tile, _U(0), _N, _N6, half)
            step = _U(channels)
            for i in range(6):
                row, to = _U(6 * i) * _N, _U((index * 36 + 6 * i) * channels + block)
                for c in range(_N):
                    k, n = row + c, to + c
                    t = _input(half[k], half[k + _N], half[k + _N2], half[k + _N3], half[k + _N4], half[k + _N5])
                    write(tiles, n, t[0])
                    write(tiles, n + step, t[1])
                    write(tiles, n + _U(2) * step, t[2])
                    write(tiles, n + _U(3) * step, t[3])
                    write(tiles, n + _U(4) * step, t[4])
                    write(tiles, n + _U(5) * step, t[5])


@njit(**COMPILED)
def _put_back(products, results, bias, bounds, shape, first, last):
    """Write A^T m A of some of the tiles, (T, 36, K), plus bias and what is there, clamped; (B, h, w, K)."""
    height, width, filters, add, _, down, right, start = shape
    low, high = bounds
    half, tile = np.empty(24 * RESULTS, np.float32), np.empty(4 * RESULTS, np.float32)
    for index in range(first, last):
        image, place = divmod(start + index, down * right)
        y, x = 4 * (place // right), 4 * (place % right)
        for block in range(0, filters, RESULTS):
            step = _U(6 * filters)
            for j in range(6):
                column, of = _U(j) * _M, _U((index * 36 + j) * filters + block)
                for c in range(_M):
                    k, n = column + c, of + c
                    m0, m1, m2 = read(products, n), read(products, n + step), read(products, n + _U(2) * step)
                    m3, m4 = read(products, n + _U(3) * step), read(products, n + _U(4) * step)
                    m5 = read(products, n + _U(5) * step)
                    half[k], half[k + _M6], half[k + _M12], half[k + _M18] = _output(m0, m1, m2, m3, m4, m5)
            for i in range(min(4, height - y)):
                row = _U(6 * i) * _M
                for c in range(_M):
                    k = row + c
                    t = _output(half[k], half[k + _M], half[k + _M2], half[k + _M3], half[k + _M4], half[k + _M5])
                    tile[c], tile[c + _M], tile[c + _M2], tile[c + _M3] = t
                for j in range(min(4, width - x)):
                    to = _U(((image * height + y + i) * width + x + j) * filters + block)
                    of, offset = _U(j) * _M, _U(block)
                    if add:
                        for c in range(_M):
                            summed = read(results, to + c) + tile[of + c] + bias[offset + c]
                            write(results, to + c, clamped(summed, low, high))
                    else:
                        for c in range(_M):
                            write(results, to + c, clamped(tile[of + c] + bias[offset + c], low, high))


@njit(inline="always")
def _shape(numbers):
    n = numbers[3:]
    return n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7]


def compiled(kind):
    """Compile what :func:`etl.explain.loops.openmp.in_parallel` runs for arrays of a kind: there and back.

    Jobs begin with :data:`_NUMBERS` numbers.
    """

    @cfunc(SIGNATURE, cache=True)
    def transform_part(job):
        numbers = carray(job[0], (_NUMBERS,), np.int64)
        first, last = part_of(numbers[0])
        pixels, tiles = carray(job[1], (numbers[1],), kind), carray(job[2], (numbers[2],), kind)
        _transform(pixels, tiles, _shape(numbers), first, last)

    @cfunc(SIGNATURE, cache=True)
    def put_back_part(job):
        numbers = carray(job[0], (_NUMBERS,), np.int64)
        first, last = part_of(numbers[0])
        products, results = carray(job[1], (numbers[1],), kind), carray(job[2], (numbers[2],), kind)
        bias, bounds = carray(job[3], (numbers[5],), np.float32), carray(job[4], (2,), np.float32)
        _put_back(products, results, bias, (bounds[0], bounds[1]), _shape(numbers), first, last)

    return transform_part, put_back_part
