"""One job beside the forward passes: layouts and publications, which need a single thread."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


class Background:
    """Runs one job at a time in a thread, and leaves a processor to it.

    While a job runs, torch uses one thread less: the threads of a forward pass wait for each other, and one that has
    lost its processor holds up all. The number of threads does not change what a forward pass computes.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="finish")
        self._job: Future[None] | None = None
        self._threads = torch.get_num_threads()

    def __enter__(self) -> Background:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True)
        torch.set_num_threads(self._threads)

    def start(self, job: Callable[[], None]) -> None:
        """Wait for the last job, then start this one."""
        self.wait()
        self._job = self._pool.submit(job)

    def wait(self) -> None:
        """Wait for the last job; raises what it raised."""
        job, self._job = self._job, None
        if job is not None:
            job.result()

    def share(self) -> None:
        """Adapt torch's number of threads to whether a job runs; call it between units of work."""
        busy = self._job is not None and not self._job.done()
        threads = max(1, self._threads - busy)
        if threads != torch.get_num_threads():
            torch.set_num_threads(threads)
