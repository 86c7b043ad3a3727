"""The notebooks' code runs from top to bottom (without a kernel; a notebook server is not part of the test extra)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_runs(path, demo_warehouse, monkeypatch):
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert cells
    assert all(cell["outputs"] == [] for cell in cells), "outputs do not belong into the repository"
    monkeypatch.chdir(demo_warehouse.parent)
    scope: dict = {}
    for cell in cells:
        source = "".join(cell["source"])
        source = source.replace('Path("demo-warehouse")', f"Path({str(demo_warehouse)!r})")
        source = source.replace("images_per_class=25", "images_per_class=4")
        exec(compile(source, f"{path.name}", "exec"), scope)
    scope["w"].close()
    assert scope["dashboard"].views["model-bars"].heading == "Leaf classes of squeezenet1_1, best first"
