"""The house rule: imports point one way, ``vacpanel -> etl -> warehouse``, and light doors stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# What each package may not import, at any depth of nesting (a lazy import is an import too).
FORBIDDEN = {
    "warehouse": {
        "etl",
        "vacpanel",
        "torch",
        "torchvision",
        "panel",
        "holoviews",
        "bokeh",
        "captum",
        "openTSNE",
    },
    "etl": {"vacpanel", "panel", "holoviews", "bokeh", "datashader"},
    "vacpanel": {"openTSNE", "captum"},
    "vacpanel/views": {"torch", "torchvision", "openTSNE", "captum"},
}


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} uses a relative import"
            found.add((node.module or "").split(".")[0])
    return found


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_point_one_way(package):
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    broken = {str(f.relative_to(ROOT)): sorted(_imports(f) & FORBIDDEN[package]) for f in files}
    assert {name: bad for name, bad in broken.items() if bad} == {}


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        ("import warehouse", ["torch", "panel", "etl", "vacpanel"]),
        ("import etl", ["torch", "panel"]),
        ("import vacpanel", ["torch", "panel"]),
        ("import vacpanel.cli", ["torch", "panel"]),
        ("import vacpanel.page", ["torch", "torchvision"]),
    ],
)
def test_light_doors_stay_light(statement, unwanted):
    code = f"{statement}; import sys; print([m for m in {unwanted!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
