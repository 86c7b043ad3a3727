"""One job beside the forward passes: layouts and publications, which need a single thread."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

_NICE = 10
"""How far the job stands back. The threads of a forward pass wait for each other: one that has lost its processor holds
up all. To leave a processor free instead would change results, since torch adds in another order with other threads."""


class Background:
    """Runs one job at a time in a thread that uses what processor time forward passes leave."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="finish", initializer=_stand_back)
        self._job: Future[None] | None = None

    def __enter__(self) -> Background:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True)

    def start(self, job: Callable[[], None]) -> None:
        """Wait for the last job, then start this one."""
        self.wait()
        self._job = self._pool.submit(job)

    def wait(self) -> None:
        """Wait for the last job; raises what it raised."""
        job, self._job = self._job, None
        if job is not None:
            job.result()


def _stand_back() -> None:
    if sys.platform == "linux":  # elsewhere threads have no priority of their own
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
