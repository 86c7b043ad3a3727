"""The store of maps with a million entries: ``python -m benchmarks.maps``.

Maps as the five methods make them for 224-pixel images (7 x 7; every tenth 28 x 28, as BBMP's) are written in bulk.
Then fresh processes look up random maps: from the disk, alone, and while another process stores maps without a pause.
Maps are put, also into a store that is full, where the least recently used leave; and the numbers are published.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from warehouse.folder import Folder
from warehouse.maps import MapStore, StoredMap, digest
from warehouse.maps_file import connect
from warehouse.publish import publish
from warehouse.stored_map import encode_pixels, to_row

if TYPE_CHECKING:
    from collections.abc import Iterator

METHODS = ("grad-cam", "grad-cam++", "smooth-grad-cam++", "score-cam", "bbmp")
NOW = datetime.now(UTC).replace(tzinfo=None)


def key(name: str, number: int) -> str:
    return digest(name, number)


def made(name: str, count: int) -> Iterator[StoredMap]:
    """Yield maps that nobody has stored yet; a pool of pixels is enough, SQLite compresses nothing."""
    rng = np.random.default_rng(0)
    pool = {side: rng.random((500, side, side), dtype=np.float32) for side in (7, 28)}
    for i in range(count):
        side = 28 if i % 10 == 0 else 7
        measures = rng.random(3)
        yield StoredMap(
            digest=key(name, i),
            model=f"torchvision:resnet{i % 30}",
            model_key=f"torchvision-resnet{i % 30}-0123456789ab",
            image_id=i // 150,
            image_sha256=digest(i // 150),
            method=METHODS[i % len(METHODS)],
            method_version=2,
            target_class_id=i % 1000,
            parameters='{"noise":0.15,"samples":8,"seed":0}',
            height=side,
            width=side,
            map=pool[side][i % 500],
            predicted_class_id=i % 1000,
            confidence=0.5,
            measures=dict(zip(("roi_area", "entropy", "total_variation"), measures, strict=True)),
            flags=[],
            seconds=0.05,
            created_at=NOW,
        )


def build(path: Path, entries: int) -> None:
    """Write the entries in transactions of many, which `MapStore.put` does not: it acknowledges each."""
    MapStore(path).close()
    maps = made("built", entries)
    with closing(connect(path)) as connection:
        first = 1
        while chunk := list(itertools.islice(maps, 20_000)):
            rows = [to_row(stored) for stored in chunk]
            names = list(rows[0])
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                f"INSERT INTO explanation ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})",
                [list(row.values()) for row in rows],
            )
            connection.executemany(
                "INSERT INTO map (id, pixels) VALUES (?, ?)",
                [(number, encode_pixels(stored.map)) for number, stored in enumerate(chunk, first)],
            )
            connection.executemany(
                "INSERT OR IGNORE INTO measure (name, unit, description) VALUES (?, '', '')",
                [(name,) for name in chunk[0].measures],
            )
            connection.execute("COMMIT")
            first += len(chunk)


def get(path: Path, entries: int, count: int) -> None:
    """Look up random maps and print the quantiles."""
    rng = np.random.default_rng(time.time_ns())
    seconds = np.empty(count)
    with MapStore(path) as store:
        for i, number in enumerate(rng.integers(0, entries, count)):
            wanted = key("built", int(number))
            started = time.perf_counter()
            found = store.get(wanted)
            seconds[i] = time.perf_counter() - started
            assert found is not None
            assert found.image_id == number // 150
    show(seconds)


def forget(path: Path) -> None:
    """Drop the file from the memory of the operating system, as after a restart of the machine."""
    file = os.open(path, os.O_RDONLY)
    os.fsync(file)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(file)


def put(path: Path, name: str, count: int, limit: int | None = None) -> None:
    """Store maps one by one and print the quantiles."""
    seconds = []
    with MapStore(path, limit) as store:
        for stored in made(name, count):
            started = time.perf_counter()
            store.put(stored)
            seconds.append(time.perf_counter() - started)
    show(np.array(seconds))


def publish_alone(path: Path) -> None:
    """Publish and print the time and the largest resident memory of this process."""
    started = time.perf_counter()
    publish(path.parent)
    seconds = time.perf_counter() - started
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{seconds:.1f} s, {memory:.0f} MiB at most")


def show(seconds: np.ndarray) -> None:
    median, p95, p99 = np.quantile(seconds, (0.5, 0.95, 0.99)) * 1000
    print(f"median {median:.2f} ms, p95 {p95:.2f} ms, p99 {p99:.2f} ms, max {seconds.max() * 1000:.1f} ms")


def elsewhere(call: str, path: Path) -> subprocess.Popen[str]:
    """Run a call of this module's in a process of its own."""
    code = f"from pathlib import Path; from benchmarks import maps; path = Path({str(path)!r}); maps.{call}"
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str]) -> str:
    return process.communicate()[0].strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--gets", type=int, default=20_000)
    options = parser.parse_args()
    print(f"{platform.machine()}, sqlite {sqlite3.sqlite_version}, duckdb {version('duckdb')}")
    with tempfile.TemporaryDirectory() as directory:
        path = Folder(Path(directory) / "warehouse").create().explanations
        started = time.perf_counter()
        build(path, options.entries)
        print(f"{options.entries:,} maps, {path.stat().st_size / 2**20:,.0f} MiB", end="")
        print(f" (written in {time.perf_counter() - started:.0f} s)")
        forget(path)
        print("get, cold file  ", said(elsewhere(f"get(path, {options.entries}, 1000)", path)))
        print("get             ", said(elsewhere(f"get(path, {options.entries}, {options.gets})", path)))
        writer = elsewhere("put(path, 'meanwhile', 10**9)", path)
        print("get, one writing", said(elsewhere(f"get(path, {options.entries}, {options.gets})", path)))
        writer.kill()
        writer.wait()
        print("put             ", said(elsewhere("put(path, 'after', 5000)", path)))
        with MapStore(path) as store:
            limit = store.size
        print("put, store full ", said(elsewhere(f"put(path, 'full', 5000, {limit})", path)))
        started = time.perf_counter()
        with MapStore(path) as store:
            store.fingerprint()
        print(f"fingerprint      {(time.perf_counter() - started) * 1000:.1f} ms")
        print("publish         ", said(elsewhere("publish_alone(path)", path)))


if __name__ == "__main__":
    main()
