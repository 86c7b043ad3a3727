"""What a running ETL tells dashboards: one small JSON file, replaced in one step."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from warehouse import files

if TYPE_CHECKING:
    from warehouse.folder import Folder


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far an ETL is.

    Parameters
    ----------
    run_id
        The run, as in the relation `runs`.
    pid
        The process that works; when it is gone, so is the run.
    status
        One of `warehouse.schema.RUN_STATUSES`.
    models_total, models_done
        Models of the run, and those that are complete.
    images_total, images_done
        Images to predict, counted once a model, and those predicted (images x models).
    images_per_second
        Current rate over all models, None before there is one.
    eta_seconds
        Seconds left at the current rate, None while unknown.
    message
        What is being done, in plain words.
    updated_at
        When this was true, in UTC without time zone.
    """

    run_id: str
    pid: int
    status: str
    models_total: int
    models_done: int
    images_total: int
    images_done: int
    images_per_second: float | None
    eta_seconds: float | None
    message: str
    updated_at: datetime

    @property
    def running(self) -> bool:
        """Whether the run still goes on, as far as can be told from this machine."""
        return self.status == "running" and files.process_is_alive(self.pid)


def write_progress(folder: Folder, progress: Progress) -> None:
    """Replace the progress of the warehouse's running ETL."""
    content = dataclasses.asdict(progress) | {"updated_at": progress.updated_at.isoformat()}
    # For show only: a full disk ends a run where results are written, and there with a better message.
    with contextlib.suppress(OSError):
        files.replace_text(folder.progress, json.dumps(content))


def read_progress(folder: Folder) -> Progress | None:
    """Return the progress of the ETL that runs now, or None: there is none, it ended, or its process died."""
    try:
        content: dict[str, Any] = json.loads(folder.progress.read_text(encoding="utf-8"))
        progress = Progress(**content | {"updated_at": datetime.fromisoformat(content["updated_at"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return progress if progress.running else None
