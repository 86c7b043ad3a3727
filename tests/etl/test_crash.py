"""ETLs that are killed, interrupted, doubled, or run out of disk: nothing is lost, nothing is there twice."""

from __future__ import annotations

import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

import warehouse
from benchmarks import crash
from etl import run
from warehouse.folder import Folder

KILLS = 12
FIRST, SECOND = "demo:squeezenet1_1", "demo:shufflenet_v2_x0_5"


def vacpanel(*arguments, **options):
    command = [sys.executable, "-m", "vacpanel", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def output(process, status=0):
    out, err = process.communicate(timeout=240)
    assert process.returncode == status, out + err
    assert "Traceback" not in err
    return err


def counts(target):
    """Predictions, and distinct ones, of each visible model."""
    with warehouse.open(target) as w:
        query = "SELECT model, count(*), count(DISTINCT image_id) FROM predictions GROUP BY ALL ORDER BY ALL"
        return w.sql(query).fetchall()


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """An ETL that nobody disturbs."""
    return crash.undisturbed(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def images(alone):
    """64 images of the demo, as the command line names them."""
    return alone.images


def test_kills_lose_nothing_and_disturb_no_reader(alone):
    outcome = crash.crash(alone, KILLS, readers=2)
    assert outcome.kills.total() == KILLS
    assert (outcome.lost, outcome.twice, outcome.different) == (0, 0, [])
    assert outcome.errors == []
    assert outcome.reads > KILLS
    assert outcome.changes > KILLS


def test_two_etls_at_once_both_finish_and_nothing_is_there_twice(alone, tmp_path):
    both = [crash.start(alone.images, tmp_path / "w") for _ in range(2)]
    for process in both:
        crash.finish(process)
    assert crash.differences(tmp_path / "w", alone) == []


def test_ctrl_c_stops_after_the_unit_and_the_printed_command_goes_on(images, tmp_path):
    target = tmp_path / "it's mine"
    more = images.replace("images_per_class=1", "images_per_class=4")
    models = f"{FIRST},demo:resnet152,demo:densenet169"
    process = vacpanel("etl", more, "--warehouse", target, "--models", models, "--device", "cpu")
    deadline = time.monotonic() + 120
    while not crash.units(target):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    said = output(process, status=130)
    done = len(crash.units(target))
    assert 0 < done < 3
    assert "interrupted, go on with" in said
    [line] = [line for line in said.splitlines() if line.startswith("vacpanel etl")]
    output(vacpanel(*shlex.split(line)[1:]))
    assert len(crash.units(target)) == 3
    assert counts(target) == [(model, 256, 256) for model in sorted(models.split(","))]


# A full disk ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(images, tmp_path_factory):
    """A warehouse with one model."""
    target = tmp_path_factory.mktemp("built") / "w"
    run(images, FIRST, target, device="cpu", progress=False)
    return target


def second_model(images, target, **options):
    """Have the command line run a model that is not there yet, and fail; returns what it says."""
    command = ["etl", images, "--warehouse", target, "--models", f"{FIRST},{SECOND}", "--device", "cpu"]
    return output(vacpanel(*command, **options), status=2)


def check_refusal(said, target):
    """The error is one sentence about the disk, and what was published is as it was."""
    [line] = [line for line in said.splitlines() if line.startswith("vacpanel: ")]
    assert str(target) in line
    assert "File too large" in line or "No space left on device" in line
    assert counts(target) == [(FIRST, 64, 64)]


def check_recovery(images, target):
    """With room, a second run computes what lacks, and clears away what the first one left behind."""
    report = run(images, [FIRST, SECOND], target, device="cpu", progress=False)
    assert report.status == "finished"
    assert counts(target) == [(SECOND, 64, 64), (FIRST, 64, 64)]
    assert not list(Folder(target).root.rglob(".tmp-*"))


@pytest.mark.parametrize("limit", [3_000, 100_000, 600_000])
def test_files_that_cannot_grow(images, built, tmp_path, limit):
    """From the limit on that the operating system sets, writing fails as on a full disk; the first bytes go through."""
    target = tmp_path / "w"
    shutil.copytree(built, target, symlinks=True)

    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    check_refusal(second_model(images, target, preexec_fn=small_files), target)
    check_recovery(images, target)


@contextmanager
def disk(folder, megabytes):
    """A file system of its own, if this machine lets us have one; yields what gives it another size."""
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder], capture_output=True, check=False
    )
    if mount.returncode:
        pytest.skip("only root may mount a small disk")
    try:
        yield lambda size: subprocess.run(["mount", "-o", f"remount,size={size}", folder], check=True)
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_disk_that_fills_up(images, built, tmp_path):
    with disk(tmp_path / "disk", 100) as resize:
        target = tmp_path / "disk" / "w"
        shutil.copytree(built, target, symlinks=True)
        resize(shutil.disk_usage(target).used + 200_000)
        check_refusal(second_model(images, target), target)
        resize("100m")
        check_recovery(images, target)
