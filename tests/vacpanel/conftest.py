"""What the tests of the dashboard share."""

from __future__ import annotations

import pytest

from vacpanel import serving


@pytest.fixture
def opened(demo_warehouse):
    """The embedded demo, open as a server has it."""
    return serving.open_warehouse(demo_warehouse)
