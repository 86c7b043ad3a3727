"""Where explanations are computed: one interface, and the engine that computes in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from etl.explain.computer import MEMORY, Computer
from etl.explain.requests import Explanation
from etl.explain.scheduler import Scheduler
from etl.explain.task import Task

if TYPE_CHECKING:
    from concurrent.futures import Future

    import torch

    from etl.explain.kept import KeptMaps

Progress = Callable[[int, float, NDArray[np.float32] | None], None]
"""Called from any thread with the position of a task, the fraction done, in [0, 1], and the map so far, or None."""

BATCH_ON_GPU = 32
"""Maps computed together on a GPU. On a CPU a batch costs as much as its images one by one, and none is ready early."""


class Engine(Protocol):
    """What computes explanations: in this process, in one shared by many, or on a cluster. Any thread may call."""

    @property
    def forwards(self) -> int:
        """Images that went forward through its models so far, for whomever."""
        ...

    def submit(
        self, tasks: Sequence[Task], user: str = "", priority: int = 0, progress: Progress | None = None
    ) -> list[Future[Explanation]]:
        """Compute and store maps: see :meth:`etl.explain.scheduler.Scheduler.submit`. Does not block."""
        ...

    def promote(self, futures: Sequence[Future[Explanation]]) -> None:
        """Compute these first: see :meth:`etl.explain.scheduler.Scheduler.promote`. Does not block."""
        ...

    def close(self) -> None:
        """Cancel what is not finished and let go of everything but the store."""
        ...


class LocalEngine(Scheduler[Task, Explanation]):
    """Computes on threads of this process.

    Parameters
    ----------
    kept
        The store of maps.
    device
        ``"auto"`` (a GPU if there is one), ``"cpu"``, ``"cuda"`` or ``"cuda:0"``.
    memory
        Bytes of model parameters to keep ready.
    batch
        Most maps of one user, model, method and parameters to compute together; None chooses by device.

    Raises
    ------
    UserError
        If there is no such device.
    """

    def __init__(self, kept: KeptMaps, device: str = "auto", memory: int = MEMORY, batch: int | None = None) -> None:
        from etl.devices import choose_device

        self.computer = Computer(choose_device(device), memory)
        super().__init__(
            lambda tasks, turn: kept.answer(tasks, partial(self.computer.explain, turn=turn)),
            f"explain on {self.computer.device}",
            batch or best_batch(self.computer.device),
        )

    @property
    def forwards(self) -> int:
        """Images that went forward through a model so far."""
        return self.computer.forwards


def best_batch(device: torch.device) -> int:
    """Return how many maps to compute together on a device."""
    return 1 if device.type == "cpu" else BATCH_ON_GPU
