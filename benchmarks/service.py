"""The explanation service: answers from the cache, and two users at a time: ``python -m benchmarks.service``.

Maps are computed and asked for again: in the same process, in a second one that runs beside it, and in one that is
started when all others have ended. Each request is timed from the call to the finished future, the first of a process
included. Then two users compute at the same time, and each one's wait is divided by that alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

import warehouse
from benchmarks.timing import machine
from etl.explain.requests import Request
from etl.explain.service import ExplanationService
from vacpanel.demo import build

METHOD, LONG = "grad-cam", "score-cam"


def timed(service: ExplanationService, requests: list[Request]) -> list[float]:
    """Milliseconds of each request; all must be in the store."""
    times = []
    for request in requests:
        started = time.perf_counter()
        future = service.request(request)
        assert future.result().cached
        times.append((time.perf_counter() - started) * 1000)
    return times


def in_a_process(path: Path, requests: list[Request]) -> list[float]:
    """Milliseconds of each request in a process of its own."""
    asked = json.dumps([(request.model, request.image_id) for request in requests])
    command = [sys.executable, "-m", "benchmarks.service", "--warehouse", str(path), "--ask"]
    done = subprocess.run(command, input=asked, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def ask(path: Path) -> None:
    """Be that process."""
    requests = [Request(model, image, METHOD) for model, image in json.load(sys.stdin)]
    with ExplanationService(path) as service:
        time.sleep(1)  # nobody asks before the page is open
        json.dump(timed(service, requests), sys.stdout)


def show(name: str, times: list[float]) -> None:
    median, high = np.percentile(times, [50, 95])
    print(f"{name:44s} {median:6.2f} {high:6.2f} {max(times):7.2f} {times[0]:8.2f}")


def seconds(service: ExplanationService, request: Request, client: str) -> float:
    started = time.perf_counter()
    assert not service.request(request, client=client).result().cached
    return time.perf_counter() - started


def short_beside_long(service: ExplanationService, models: list[str], targets: itertools.count, rounds: int) -> None:
    """One user's quick maps, alone and while another user's long one is computed."""
    alone, beside = [], []
    for _ in range(rounds):
        alone.append(seconds(service, Request(models[0], 1, METHOD, next(targets)), "quick"))
        begun = threading.Event()
        request = Request(models[1], 1, LONG, next(targets))
        long = service.request(request, lambda _fraction, _map, begun=begun: begun.set(), "long")
        begun.wait()
        beside.append(seconds(service, Request(models[0], 1, METHOD, next(targets)), "quick"))
        assert not long.done()
        long.cancel()
    ratio = np.median(np.array(beside) / np.array(alone))
    print(
        f"{METHOD} of {models[0]} beside {LONG} of {models[1]} of another user: {np.median(beside) * 1000:.0f} ms,"
        f" alone {np.median(alone) * 1000:.0f} ms: {ratio:.2f} x"
    )


def two_long(service: ExplanationService, models: list[str], targets: itertools.count, rounds: int) -> None:
    """Two users' long maps at the same time, against the same alone."""
    budget = {"channels": 64}  # as many passes for every class
    ratios: dict[str, list[float]] = {model: [] for model in models}
    for _ in range(rounds):
        alone = {model: seconds(service, Request(model, 2, LONG, next(targets), budget), "one") for model in models}
        started = time.perf_counter()
        ended: dict[str, float] = {}
        futures = []
        for model in models:
            future = service.request(Request(model, 2, LONG, next(targets), budget), client=model)
            future.add_done_callback(
                lambda _future, model=model, ended=ended, started=started: ended.update(
                    {model: time.perf_counter() - started}
                )
            )
            futures.append(future)
        for future in futures:
            future.result()
        for model in models:
            ratios[model].append(ended[model] / alone[model])
    for model in models:
        print(f"{LONG} of {model} beside that of the other user: {np.median(ratios[model]):.2f} x its time alone")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--warehouse", type=Path, help="a demo warehouse; one is built if none is named")
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--ask", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if "OMP_WAIT_POLICY" not in os.environ:
        # As the dashboard does; it counts from the start of a process. Threads that wait by spinning hinder each other.
        os.execve(  # noqa: S606 - this very script
            sys.executable,
            [sys.executable, "-m", "benchmarks.service", *sys.argv[1:]],
            {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},
        )
    if options.ask:
        ask(options.warehouse)
        return
    with tempfile.TemporaryDirectory() as place:
        path = options.warehouse or Path(place)
        build(path, 4)
        print(machine("torch", "duckdb"))
        with warehouse.open(path) as opened:
            models = [str(model) for model in opened.models()["model"]]
        requests = [Request(model, image, METHOD) for image in range(options.images) for model in models]
        print(f"{'cached request, ms':44s} {'median':>6s} {'p95':>6s} {'longest':>7s} {'first':>8s}")
        with ExplanationService(path) as service:
            for future in service.request_many(requests):
                future.result()
            show("same process", timed(service, requests))
            show("a second process", in_a_process(path, requests))
        show("after a restart", in_a_process(path, requests))
        with ExplanationService(path) as service:
            started = time.perf_counter()
            answers = service.request_many(requests)
            assert all(future.done() for future in answers)
            print(f"all {len(requests)} in one call, newly started: {(time.perf_counter() - started) * 1000:.0f} ms")

        # Maps that nobody has asked for yet: in another copy of the store, so that a second run finds them new, too.
        (path / "explanations.sqlite").rename(path / f"explanations.sqlite.{os.getpid()}")
        try:
            with ExplanationService(path) as service:
                pair = [f"demo:{name}" for name in ("resnet18", "resnet50")]
                for model in pair:
                    service.request(Request(model, 0, LONG, parameters={"channels": 16})).result()
                targets = itertools.count()
                short_beside_long(service, pair, targets, options.rounds)
                two_long(service, pair, targets, options.rounds)
        finally:
            (path / f"explanations.sqlite.{os.getpid()}").replace(path / "explanations.sqlite")


if __name__ == "__main__":
    main()
