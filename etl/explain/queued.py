"""What waits in the queue of a device: work, those who want it, and how far it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Hashable, Iterator
    from concurrent.futures import Future


class Work(Protocol):
    """What can be queued."""

    @property
    def key(self) -> str:
        """Equal for equal work, which is then done once."""
        ...

    @property
    def resource(self) -> Hashable:
        """What may have to be loaded first: the model."""
        ...

    @property
    def group(self) -> Hashable:
        """Equal for work of one resource that can be done in one go."""
        ...


W = TypeVar("W", bound=Work)
T = TypeVar("T")
Order = tuple[int, int, int]
"""Priority, minus the number of the batch, position in the batch: the smaller, the earlier."""


@dataclass(eq=False)
class User(Generic[W, T]):
    """Somebody who asks.

    Attributes
    ----------
    used
        Device time charged, in seconds.
    queues
        For each resource a heap of work with its order and a number that tells entries apart; some may be out of date.
    """

    used: float = 0.0
    queues: dict[Hashable, list[tuple[Order, int, Job[W, T]]]] = field(default_factory=dict)


@dataclass(eq=False)
class Want(Generic[W, T]):
    """One requester's interest in a piece of work; the smaller its order, the earlier it is served."""

    user: User[W, T]
    order: Order
    future: Future[T]
    progress: Callable[[float, Any], None] | None


@dataclass(eq=False)
class Job(Generic[W, T]):
    """A piece of work, who waits for it, and how it is being done once it was begun."""

    work: W
    all_wants: list[Want[W, T]] = field(default_factory=list)
    run: Run[W, T] | None = None

    def wants(self) -> list[Want[W, T]]:
        """Return the interest of those who have not cancelled."""
        return [want for want in self.all_wants if not want.future.cancelled()]


@dataclass(eq=False)
class Run(Generic[W, T]):
    """Work that was begun: one job, or several of one group.

    Attributes
    ----------
    user
        Who pays for the device.
    turn
        Notified when the device is given to this run.
    waits, aside
        Whether it waits for the device, or goes on without it; else it has the device.
    stopped
        Whether it was told that nobody waits any more; nobody may join it then.
    since, seconds
        When the device was given to it, and for how long it had it before, in seconds.
    """

    jobs: list[Job[W, T]]
    user: User[W, T]
    turn: threading.Condition
    waits: bool = False
    aside: bool = False
    stopped: bool = False
    since: float = 0.0
    seconds: float = 0.0

    def wants(self) -> Iterator[Want[W, T]]:
        """Yield the interest of those who have not cancelled."""
        return (want for job in self.jobs for want in job.wants())
