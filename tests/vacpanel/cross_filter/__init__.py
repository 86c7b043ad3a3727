"""What is selected in one view reaches every other: a page, what a person does on it, and what SQL says of it."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.vacpanel.cross_filter.truth")  # its checks say what they compared, as tests do
