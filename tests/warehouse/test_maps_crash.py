"""Writers of the store of maps that are killed at any moment."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from warehouse.maps import MapStore

if TYPE_CHECKING:
    from pathlib import Path

KILLS = 24
AT_ONCE = 3
LIMIT = 1 << 20

WRITER = """
import sys
import numpy as np
from datetime import datetime
from warehouse.maps import MapStore, StoredMap, digest

path, name, limit = sys.argv[1], sys.argv[2], int(sys.argv[3])
store = MapStore(path, limit)
rng = np.random.default_rng(0)
for i in range(10**9):
    key = digest(name, i)
    side = (7, 28, 96)[i % 3]
    store.put(StoredMap(
        digest=key, model="demo:net", model_key="k", image_id=i, image_sha256="s", method="grad-cam", method_version=1,
        target_class_id=0, parameters="{}", height=side, width=side, map=rng.random((side, side), dtype=np.float32),
        predicted_class_id=0, confidence=0.5, measures={"area": 0.5}, flags=[], seconds=0.0,
        created_at=datetime(2026, 1, 1)))
    print(key, flush=True)
"""


class Writer:
    """A process that puts maps and says so, until it is killed."""

    def __init__(self, path: Path, name: str, limit: int) -> None:
        self.said = path.with_name(f"{name}.txt")
        with self.said.open("wb") as said:
            self.process = subprocess.Popen([sys.executable, "-c", WRITER, str(path), name, str(limit)], stdout=said)

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        assert self.process.wait() == -signal.SIGKILL

    def acknowledged(self) -> list[str]:
        """Return the digests printed so far; the last line may be cut short by the kill."""
        return [line for line in self.said.read_text().splitlines() if len(line) == 64]


def kill_writers(path: Path, limit: int, kills: int) -> list[Writer]:
    """Keep some writers running, kill one after another at random moments, start another in its place."""
    rng = np.random.default_rng()
    writers = [Writer(path, f"writer-{i}", limit) for i in range(AT_ONCE)]
    for kill in range(kills):
        victim = writers[kill]
        if rng.random() < 0.8:  # else perhaps while it is starting or opening the file
            while not victim.acknowledged() and victim.process.poll() is None:
                time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.1))
        victim.kill()
        if len(writers) < kills:
            writers.append(Writer(path, f"writer-{len(writers)}", limit))
    return writers


def check_whole(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        for other in ("map", "recency"):
            for one, two in (("explanation", other), (other, "explanation")):
                lonely = f"SELECT count(*) FROM {one} WHERE id NOT IN (SELECT id FROM {two})"
                assert connection.execute(lonely).fetchone() == (0,)


def test_killed_writers_lose_nothing_they_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    writers = kill_writers(path, 1 << 30, KILLS)
    acknowledged = [key for writer in writers for key in writer.acknowledged()]
    with MapStore(path) as store:
        assert len(acknowledged) > 5 * KILLS
        assert [key for key in acknowledged if store.get(key) is None] == []
        # At most the one that each was about to acknowledge is there beyond those.
        assert len(acknowledged) <= len(store) <= len(acknowledged) + KILLS
    check_whole(path)


def test_killed_writers_of_a_full_store_leave_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    writers = kill_writers(path, LIMIT, 12)
    acknowledged = sum(len(writer.acknowledged()) for writer in writers)
    check_whole(path)
    with MapStore(path, LIMIT) as store:
        assert 0 < len(store) < acknowledged
        assert store.size <= LIMIT + 64 * 1024
