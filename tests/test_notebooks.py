"""Every notebook runs from top to bottom in a kernel, as a novice runs it, and tells what it means to tell."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

# What the output of some cell must say, with the few images that the tests draw.
SAID = {
    "01_build_a_warehouse": [
        "768 predictions by 3 models on 256 images",
        "\n0 predictions",
        "256 predictions",
        "python:untrained:net",
        "demo:squeezenet1_1 (96, 96)",
        "Leaf classes of squeezenet1_1, best first",
    ],
    "02_sql_on_the_warehouse": ["Rank of the true class", "resnet18", "top1_per_million", "taken_for", "roi_area"],
    "03_dashboard_in_a_notebook": [
        "pinned: demo:",
        "Leaf classes of “vehicle”, mean accuracy of all models",
        "WHERE model IN ('demo:alexnet', 'demo:squeezenet1_1') AND class_id IN",
        "4.0/4",
        "<4 maps: .frame, .maps, .heatmap(row)>",
        "[((96, 96), 'float32'), ((96, 96), 'float32')",
    ],
}


def _text(notebook: nbformat.NotebookNode) -> str:
    """All that the cells printed or returned."""
    said = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            said.append(output.get("text", "") or data.get("text/plain", ""))
    return "\n" + "\n".join(said)


def test_the_notebooks_are_in_order():
    assert [path.stem[:2] for path in NOTEBOOKS] == [f"{n:02d}" for n in range(1, len(NOTEBOOKS) + 1)]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_runs(path, demo_warehouse, tmp_path, monkeypatch):
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert all(cell.outputs == [] for cell in code), "outputs do not belong into the repository"
    for cell in code:
        cell.source = cell.source.replace("images_per_class=25", "images_per_class=4")
        cell.source = cell.source.replace('Path("demo-warehouse")', f"Path({str(demo_warehouse)!r})")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    NotebookClient(notebook, timeout=280, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    text = _text(notebook)
    assert [words for words in SAID[path.stem] if words not in text] == []
    pictures = [cell for cell in code if any("image/png" in output.get("data", {}) for output in cell.outputs)]
    assert pictures
