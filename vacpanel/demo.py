"""The embedded demo as the command line runs it: the ETL beside the dashboard, or alone."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from warehouse.folder import Folder
from warehouse.publish import publish

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from etl.report import RunReport


def models() -> list[str]:
    """Return the thirteen demo models by their canonical names."""
    from etl.demo.architectures import ARCHITECTURES

    return [f"demo:{name}" for name in ARCHITECTURES]


def build(warehouse: Path, images_per_class: int) -> RunReport:
    """Draw the images, run the thirteen models, publish; does only what is missing."""
    from etl import run
    from etl.examples import explain_example

    # One model a group: models appear in an open dashboard one by one. The images are decoded once all the same.
    report = run(dataset(warehouse, images_per_class), models=models(), warehouse=warehouse, group_size=1)
    if report.computed:
        explain_example(warehouse)
    return report


def dataset(warehouse: Path, images_per_class: int) -> str:
    """Return the name of the demo data set, whose images lie inside the warehouse folder."""
    return f"demo:{warehouse.resolve() / 'images'}?images_per_class={images_per_class}"


def prepare(warehouse: Path) -> None:
    """Make an empty warehouse if there is none, so that the dashboard can open at once."""
    folder = Folder(warehouse)
    folder.create()
    if folder.current_generation() is None:
        publish(folder.root)


@contextmanager
def building_beside(warehouse: Path, images_per_class: int) -> Iterator[None]:
    """Run `build` in a process of its own while the body serves; the process ends with the body."""
    command = [sys.executable, "-m", "vacpanel", "demo", "--no-serve"]
    command += ["--warehouse", str(warehouse), "--images-per-class", str(images_per_class)]
    process = subprocess.Popen(command)  # noqa: S603  (our own command)
    try:
        yield
    finally:
        process.terminate()
        process.wait()
