"""An ETL that is killed again and again while others read: ``python -m benchmarks.crash --kills 40 --readers 4``.

An ETL runs in a process of its own and gets ``kill -9`` at a random moment, is started again, and so on until it has
finished; then the same begins with another warehouse, until there were enough kills. All the while dashboard processes
read, and a SQL client opens ``warehouse.duckdb`` read-write, changes it and closes it. What is there in the end is
compared with a warehouse whose ETL nobody disturbed.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import signal
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pyarrow.parquet as pq

import warehouse
from benchmarks.timing import machine
from etl import run
from warehouse.files import TEMPORARY
from warehouse.folder import Folder
from warehouse.publish import publish

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.process import BaseProcess
    from multiprocessing.queues import Queue
    from multiprocessing.synchronize import Event

MODELS = ("demo:squeezenet1_1", "demo:shufflenet_v2_x0_5", "demo:mobilenet_v2")
IMAGES = 64
SHARD_SIZE = 8
TIME_LIMIT = 300.0
"""Seconds after which a process that should have ended counts as hung."""

VARYING = {
    "models": {"latency_ms", "images_per_second", "created_at"},
    "store.model": {"latency_ms", "images_per_second", "created_at"},
    "dataset": {"generation", "published_at"},
}
"""Columns that differ from run to run: times, and the number of the publication."""

VARYING_RELATIONS = frozenset({"runs", "store.generation"})
"""Relations that say who computed and published when."""

# A fork of a process that has imported torch is at work within milliseconds, so that kills meet the work of an ETL and
# not the imports before it. It is a process like any other: what `kill -9` leaves behind is the same.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["etl.pipeline", "torchvision", "openTSNE"])


@dataclass
class Outcome:
    """What came of it.

    Attributes
    ----------
    kills
        How many kills met which work.
    warehouses
        How many ETLs were killed until they finished.
    lost, twice
        Units of work (a model over a shard) that were done before a kill and gone or rewritten after it; rows of
        ``predictions`` beyond one for each model and image.
    different
        Relations and parts that differ from those of the undisturbed ETL.
    reads, changes
        How often somebody read, and how often the SQL client changed ``warehouse.duckdb``.
    errors
        What they met that they should not have.
    """

    kills: Counter[str] = field(default_factory=Counter)
    warehouses: int = 0
    lost: int = 0
    twice: int = 0
    different: list[str] = field(default_factory=list)
    reads: int = 0
    changes: int = 0
    errors: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Undisturbed:
    """An ETL that nobody disturbs.

    Attributes
    ----------
    folder
        Holds its images and its warehouse.
    images
        Name of the data set.
    seconds
        How long it took.
    contents
        See :func:`contents`.
    """

    folder: Path
    images: str
    seconds: float
    contents: dict[str, str]


def undisturbed(folder: Path) -> Undisturbed:
    """Draw images into an empty folder and run an ETL to its end."""
    images = f"demo:{folder / 'images'}?images_per_class={IMAGES // 64}"
    first = _processes.Process(target=int)  # waits for imports, and the others do not
    first.start()
    finish(first)
    started = time.monotonic()
    finish(start(images, folder / "undisturbed"))
    return Undisturbed(folder, images, time.monotonic() - started, contents(folder / "undisturbed"))


def crash(expected: Undisturbed, kills: int, readers: int, seed: int | None = None) -> Outcome:
    """Kill ETLs.

    Parameters
    ----------
    expected
        What they compute.
    kills
        How many.
    readers
        Number of dashboard processes.
    seed
        Of the moments; drawn afresh by default.
    """
    rng = np.random.default_rng(seed)
    outcome = Outcome()
    while outcome.kills.total() < kills:
        root = expected.folder / f"killed-{outcome.warehouses}"
        publish(Folder(root).create())  # so that a dashboard can be open before the ETL begins
        with _company(root, readers, outcome):
            _kill_until_finished(expected, root, kills, rng, outcome)
        outcome.different += [f"{root.name}: {name}" for name in differences(root, expected)]
        outcome.twice += _rows_twice(root)
        outcome.warehouses += 1
    return outcome


def differences(root: Path, expected: Undisturbed) -> list[str]:
    """Relations and parts of a warehouse that differ from those of an undisturbed ETL, or lack, or are new."""
    found = contents(root)
    names = found.keys() | expected.contents.keys()
    return sorted(name for name in names if found.get(name) != expected.contents.get(name))


def contents(root: Path) -> dict[str, str]:
    """Digest of every relation, its rows sorted, and of every part, as far as they do not tell times."""
    with duckdb.connect(str(Folder(root).current), read_only=True) as connection:
        relations = connection.execute(
            "SELECT schema_name, table_name FROM duckdb_tables() WHERE NOT internal"
            " UNION ALL SELECT schema_name, view_name FROM duckdb_views() WHERE NOT internal"
        ).fetchall()
        found = {}
        for schema, table in relations:
            name = table if schema == "main" else f"{schema}.{table}"
            if name in VARYING_RELATIONS:
                continue
            columns = f"* EXCLUDE ({', '.join(VARYING[name])})" if name in VARYING else "*"
            rows = connection.execute(f"SELECT {columns} FROM {name} ORDER BY ALL").fetchall()
            found[name] = hashlib.sha256(repr(rows).encode()).hexdigest()
    for path in sorted(Folder(root).parts.rglob("*.parquet")):
        table = pq.read_table(path)
        kept = table.select([c for c in table.column_names if c not in VARYING["models"]])
        name = path.relative_to(Folder(root).parts).as_posix()
        found[name] = hashlib.sha256(repr(kept.to_pylist()).encode()).hexdigest()
    return found


def units(root: Path) -> dict[str, tuple[int, int]]:
    """Units that are done, each with what changes when its file is written anew."""
    done = Folder(root).parts.glob("predictions/*/[!.]*.parquet")
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in done}


def _etl(images: str, root: Path) -> None:
    run(images, MODELS, root, device="cpu", shard_size=SHARD_SIZE, publish_every=0, progress=False)


def start(images: str, root: Path) -> BaseProcess:
    """Start an ETL in a process of its own."""
    process = _processes.Process(target=_etl, args=(images, root))
    process.start()
    return process


def finish(process: BaseProcess) -> None:
    """Wait for a process, which must end well."""
    process.join(TIME_LIMIT)
    if process.exitcode != 0:
        process.kill()
        raise RuntimeError(f"A process that nobody killed ended with {process.exitcode} (None: it hung).")


def _kill_until_finished(
    expected: Undisturbed, root: Path, kills: int, rng: np.random.Generator, outcome: Outcome
) -> None:
    """Start an ETL and kill it, until one is faster; the one after the last kill is left in peace."""
    done: dict[str, tuple[int, int]] = {}
    while True:
        process = start(expected.images, root)
        if outcome.kills.total() < kills:
            _wait(process, root, len(expected.contents), rng)
            if process.is_alive():
                process.kill()
                process.join()
        if process.exitcode != -signal.SIGKILL:
            finish(process)
        before, done = done, units(root)
        outcome.lost += sum(done.get(unit) != file for unit, file in before.items())
        if process.exitcode == 0:
            return
        outcome.kills[_killed_while(root)] += 1


def _wait(process: BaseProcess, root: Path, files: int, rng: np.random.Generator) -> None:
    """Wait until an ETL has written up to a third of all files, and a moment more.

    So the kills meet all that it does, however busy the machine is.
    """
    wanted = _count_files(root) + rng.integers(0, files // 3)
    while process.is_alive() and _count_files(root) < wanted:
        time.sleep(0.005)
    process.join(rng.uniform(0, 0.2))


def _count_files(root: Path) -> int:
    return sum(not path.name.startswith(TEMPORARY) for path in root.rglob("*.parquet"))


def _killed_while(root: Path) -> str:
    """Tell what a killed ETL was doing, by the files that it left half done."""
    for place, what in ((".gen", "publishing"), ("parts", "writing a part"), ("derived", "writing a layout")):
        if any((root / place).rglob(f"{TEMPORARY}*")):
            return what
    return "computing" if units(root) else "starting"


def _rows_twice(root: Path) -> int:
    with warehouse.open(root) as w:
        [(rows,)] = w.sql("SELECT count(*) - count(DISTINCT (model, image_id)) FROM predictions").fetchall()
    return int(rows)


# Who else is there ----------------------------------------------------------------------------------------------------


@contextmanager
def _company(root: Path, readers: int, outcome: Outcome) -> Iterator[None]:
    """Have dashboards read and a SQL client write while the body runs."""
    stop, told = _processes.Event(), _processes.Queue()
    company = [_processes.Process(target=_read, args=(root, stop, told)) for _ in range(readers)]
    company.append(_processes.Process(target=_change, args=(root, stop, told)))
    for process in company:
        process.start()
    try:
        yield
    finally:
        stop.set()
        for _ in company:
            reads, changes, errors = told.get(timeout=TIME_LIMIT)
            outcome.reads += reads
            outcome.changes += changes
            outcome.errors += errors
        for process in company:
            finish(process)


def _read(root: Path, stop: Event, told: Queue) -> None:
    """Be a dashboard: stay with one warehouse object, and open another as a new session does."""
    reads, errors = 0, []
    with warehouse.open(root) as held:
        while not stop.is_set():
            try:
                before = held.generation
                held.refresh()
                _look(held)
                with warehouse.open(root) as fresh:
                    _look(fresh)
                    if not before <= held.generation <= fresh.generation:
                        errors.append(f"generation {fresh.generation} after {held.generation} after {before}")
            except Exception as error:  # noqa: BLE001 - whatever it is, a reader must not meet it
                errors.append(f"{type(error).__name__}: {error}")
            reads += 1
            stop.wait(0.05)
    told.put((reads, 0, errors))


def _look(w: warehouse.Warehouse) -> None:
    """Ask what a dashboard asks; a model that is visible must be complete."""
    models = w.models()["model"]
    counts = w.sql("SELECT model, count(*), count(DISTINCT image_id) FROM predictions GROUP BY ALL ORDER BY 1")
    wanted = [(model, IMAGES, IMAGES) for model in sorted(models)]
    if (found := counts.fetchall()) != wanted:
        raise AssertionError(f"{found} instead of {wanted}")
    for model in models:
        if len(w.class_layout(model)["class_id"]) != len(w.tally().class_accuracy(model)["class_id"]):
            raise AssertionError(f"{model} is visible without a layout")


def _change(root: Path, stop: Event, told: Queue) -> None:
    """Be a person with a SQL client who takes the file for their own."""
    changes, errors = 0, []
    while not stop.is_set():
        try:
            with duckdb.connect(str(Folder(root).published)) as connection:
                connection.execute("CREATE OR REPLACE TABLE mine AS SELECT * FROM predictions")
                connection.execute("DELETE FROM store.prediction")
                stop.wait(0.1)
        except Exception as error:  # noqa: BLE001
            errors.append(f"SQL client: {type(error).__name__}: {error}")
        changes += 1
        stop.wait(0.05)
    told.put((0, changes, errors))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--readers", type=int, default=4)
    parser.add_argument("--seed", type=int)
    arguments = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        alone = undisturbed(Path(folder))
        outcome = crash(alone, arguments.kills, arguments.readers, arguments.seed)
    print(machine("torch", "duckdb", "pyarrow"))
    work = len(MODELS) * -(-IMAGES // SHARD_SIZE)
    print(f"ETL of {len(MODELS)} models x {IMAGES} images in {work} units, {alone.seconds:.1f} s undisturbed")
    while_ = ", ".join(f"{count} {what}" for what, count in outcome.kills.most_common())
    print(f"{outcome.kills.total()} kills over {outcome.warehouses} warehouses: {while_}")
    print(f"{outcome.lost} units lost or computed twice, {outcome.twice} rows twice")
    print(f"{len(outcome.different)} relations or parts differ from the undisturbed warehouse")
    print(
        f"{outcome.reads} rounds of {arguments.readers} readers, {outcome.changes} of a SQL client that writes: ",
        end="",
    )
    print(f"{len(outcome.errors)} errors")
    for line in [*outcome.different, *outcome.errors][:20]:
        print(f"  {line}")
    print(f"{time.monotonic() - started:.0f} s in all")


if __name__ == "__main__":
    main()
