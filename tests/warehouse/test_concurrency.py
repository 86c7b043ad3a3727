"""Processes against processes: nobody locks anybody out, and no kill breaks what is published."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pytest

import warehouse
from warehouse.publish import publish

if TYPE_CHECKING:
    from conftest import Sample

    from warehouse.folder import Folder

# A careless person: opens the file read-write, changes it, and keeps it open.
CARELESS = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1])
connection.execute("CREATE OR REPLACE TABLE mine AS SELECT range AS i FROM range(1000)")
connection.execute("DROP TABLE class_accuracy")
print("ready", flush=True)
sys.stdin.read()
"""

PUBLISHER = """
import sys
from warehouse.publish import publish
print("ready", flush=True)
while True:
    print(publish(sys.argv[1], force=True).number, flush=True)
"""


def start(script: str, argument: object) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(argument)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


def test_somebody_holds_the_file_read_write(own: Folder, sample: Sample) -> None:
    careless = start(CARELESS, own.published)
    try:
        with warehouse.open(own.root) as w:
            assert len(w.class_layout("demo:net0")["class_id"]) == 7
            sample.write_card(own, "demo:net0", key="again", model="demo:net3")
            for _ in range(3):
                assert publish(own, force=True).changed
                assert w.refresh()
                assert w.summary().models == 4
                assert len(w.class_layout("demo:net0")["class_id"]) == 7
            with duckdb.connect(str(own.published)) as fresh:
                assert fresh.execute("SELECT count(*) FROM class_accuracy").fetchone() == (18,)
    finally:
        kill(careless)


def test_a_killed_careless_person_breaks_nothing(own: Folder) -> None:
    kill(start(CARELESS, own.published))
    with duckdb.connect(str(own.published), read_only=True) as again:
        assert again.execute("SELECT count(*) FROM mine").fetchone() == (1000,)
    with warehouse.open(own.root) as w:
        assert len(w.class_layout("demo:net0")["class_id"]) == 7
        publish(own, force=True)
        w.refresh()
        assert len(w.class_layout("demo:net0")["class_id"]) == 7
    with duckdb.connect(str(own.published), read_only=True) as fresh:
        assert fresh.execute("SELECT count(*) FROM class_accuracy").fetchone() == (18,)


def read_all(own: Folder) -> int:
    """Read what is published as a dashboard and as a person would; return the generation."""
    with duckdb.connect(str(own.published), read_only=True) as people:
        assert people.execute("SELECT sum(images) FROM model_accuracy").fetchone() == (141,)
    with warehouse.open(own.root) as fresh:
        assert fresh.summary().models == 3
        return fresh.generation


def test_kills_of_a_publisher_leave_a_readable_generation(own: Folder) -> None:
    rng = np.random.default_rng(1)
    newest = 1
    with warehouse.open(own.root) as w:
        for round_ in range(5):
            publisher = start(PUBLISHER, own.root)
            assert publisher.stdout is not None
            if round_ % 2:  # so that kills also meet a publisher that has published before
                newest = int(publisher.stdout.readline())
                assert read_all(own) >= newest
            deadline = time.monotonic() + rng.uniform(0.01, 0.4)
            while time.monotonic() < deadline:
                assert read_all(own) >= newest
            kill(publisher)
            w.refresh()
            assert w.generation >= newest
            newest = w.generation
            assert w.sql("SELECT count(*) FROM predictions").fetchall() == [(141,)]
            assert len(w.class_layout("demo:net0")["class_id"]) == 7
        publish(own)
        w.refresh()
        assert w.generation >= 3
        assert own.published.resolve() == own.generation_copy(w.generation)
        assert [path for path in own.generations.iterdir() if path.name.startswith(".tmp")] == []
        assert len(list(own.generations.glob("*.duckdb"))) <= 4


def test_publishers_take_turns(own: Folder) -> None:
    first = own.current_generation()
    assert first is not None
    with ThreadPoolExecutor(4) as pool:
        numbers = [result.number for result in pool.map(lambda _: publish(own, force=True), range(4))]
    assert sorted(numbers) == list(range(first + 1, first + 5))


@pytest.mark.parametrize("threads", [True, False])
def test_a_burst_of_publishers_publishes_once(own: Folder, sample: Sample, threads: bool) -> None:
    sample.write_card(own, "demo:net0", key="again", model="demo:net3")
    if threads:
        with ThreadPoolExecutor(4) as pool:
            changed = [result.changed for result in pool.map(lambda _: publish(own), range(4))]
    else:
        script = "import sys; from warehouse.publish import publish; print(publish(sys.argv[1]).changed)"
        processes = [
            subprocess.Popen([sys.executable, "-c", script, str(own.root)], stdout=subprocess.PIPE, text=True)
            for _ in range(3)
        ]
        changed = [process.communicate()[0].strip() == "True" for process in processes]
    assert sorted(changed) == [False] * (len(changed) - 1) + [True]
