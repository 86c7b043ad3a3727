"""Coroutines from tests: the browser tests leave a loop running in this thread, so each gets a thread of its own."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine


def in_a_loop(work: Coroutine[Any, Any, Any]) -> Any:
    """Run `work` to its end on a loop of its own; return what it returns."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()
