"""Short columns travel inside the message, and arrive as they were."""

from __future__ import annotations

import base64
import gzip

import numpy as np
import pytest
from bokeh.core.serialization import Deserializer, Serializer

from vacpanel.views.columns import SHORT, Column, inside


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "uint8"])
@pytest.mark.parametrize("length", [0, 1, 100])
def test_a_short_column_needs_no_frame_of_its_own(dtype, length):
    column = np.arange(length)[::-1].astype(dtype)
    serializer = Serializer()
    written = serializer.encode(inside(column))
    assert serializer.buffers == []
    assert (written["dtype"], written["shape"]) == (dtype, [length])
    read = np.frombuffer(gzip.decompress(base64.b64decode(written["array"]["data"])), dtype)
    np.testing.assert_array_equal(read, column)
    if length:  # Bokeh's own reader takes no empty ones
        np.testing.assert_array_equal(Deserializer().decode(written), column)


def test_it_is_written_as_bokeh_writes_arrays_into_pages():
    column = np.linspace(0, 1, 30, dtype=np.float32)
    assert Serializer().encode(inside(column)) == Serializer(deferred=False).encode(column)


def test_parts_of_an_array_are_written_as_they_look():
    column = np.arange(20, dtype=np.int32)[::2]
    np.testing.assert_array_equal(Deserializer().decode(Serializer().encode(inside(column))), column)


def test_a_list_of_columns_is_sent_inside():
    paths = inside([np.zeros(3), np.ones(2)])
    assert all(isinstance(path, Column) for path in paths)


@pytest.mark.parametrize(
    "column",
    [np.zeros(SHORT, np.float32), np.array(["a", "b"]), np.arange(3, dtype=np.int64), [], ["a"], np.array([None])],
)
def test_others_are_left_to_bokeh(column):
    assert inside(column) is column
