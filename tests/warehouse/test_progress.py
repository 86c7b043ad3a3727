from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from warehouse.progress import Progress, read_progress, write_progress

if TYPE_CHECKING:
    from warehouse.folder import Folder

PROGRESS = Progress(
    run_id="run-1",
    pid=os.getpid(),
    status="running",
    models_total=13,
    models_done=4,
    images_total=20800,
    images_done=6500,
    images_per_second=812.5,
    eta_seconds=None,
    message="predicting with démo:resnet18",
    updated_at=datetime(2026, 3, 1, 12, 0, 0, 5, tzinfo=UTC).replace(tzinfo=None),
)


def test_round_trip(empty: Folder) -> None:
    assert read_progress(empty) is None
    write_progress(empty, PROGRESS)
    assert read_progress(empty) == PROGRESS
    write_progress(empty, replace(PROGRESS, images_done=7000))
    found = read_progress(empty)
    assert found is not None
    assert found.images_done == 7000


@pytest.mark.parametrize("status", ["finished", "finished with errors", "interrupted", "failed"])
def test_ended_runs_have_no_progress(empty: Folder, status: str) -> None:
    write_progress(empty, replace(PROGRESS, status=status))
    assert read_progress(empty) is None


def test_dead_processes_make_no_progress(empty: Folder) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    write_progress(empty, replace(PROGRESS, pid=process.pid))
    assert read_progress(empty) is not None
    process.communicate(b"\n")
    assert read_progress(empty) is None


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"pid": 1}', '{"updated_at": "yesterday"}'])
def test_damaged_files_are_no_progress(empty: Folder, content: str) -> None:
    empty.progress.write_text(content)
    assert read_progress(empty) is None


@pytest.mark.parametrize("pid", [0, -1, 10**12])
def test_impossible_processes_are_not_alive(empty: Folder, pid: int) -> None:
    write_progress(empty, replace(PROGRESS, pid=pid))
    assert read_progress(empty) is None
