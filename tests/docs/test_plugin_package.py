"""A package adds a model, a method and a view without touching the repository: one is really installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "tests" / "plugin_package"

DASHBOARD = """
from vacpanel import Dashboard

dashboard = Dashboard("w")
view = dashboard.views["doubts"]
dashboard.state.model = "brightness:green"
assert view.heading == "Doubts of brightness:green"
assert view.__panel__() in dashboard.__panel__().select()
view.select(0)
assert dashboard.state.images == [0]
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with the package installed beside vacpanel, and images to work on."""
    folder = tmp_path_factory.mktemp("plugin")
    # A copy: building writes beside the sources.
    _run(folder, "cp", "-r", PACKAGE, "source")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    _run(folder, *pip, "--target", folder / "site", folder / "source")
    rng = np.random.default_rng(0)
    for name, level in (("dark", 40), ("light", 200)):
        (folder / "images" / name).mkdir(parents=True)
        for k in range(3):
            pixels = rng.integers(level - 30, level + 30, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "images" / name / f"{k}.png")
    models = "brightness:grey,brightness:green"
    _vacpanel(folder, "etl", "images", "--warehouse", "w", "--models", models, "--device", "cpu")
    return folder


def _run(folder: Path, *command) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder / "site"), str(ROOT)])}
    arguments = list(map(str, command))
    done = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _vacpanel(folder: Path, *arguments) -> str:
    return _run(folder, sys.executable, "-m", "vacpanel", *arguments)


def test_its_model_and_method_are_listed(installed):
    assert "brightness:NAME" in _vacpanel(installed, "models")
    assert "Saliency" in _vacpanel(installed, "methods")


def test_its_model_runs_and_its_method_explains(installed):
    lines = [line.split() for line in _vacpanel(installed, "info", "w").splitlines() if "brightness:" in line]
    assert {line[0]: line[2] for line in lines} == {"brightness:grey": "100.0%", "brightness:green": "100.0%"}
    common = ["--warehouse", "w", "--models", "brightness:grey,brightness:green", "--image", "0"]
    _vacpanel(installed, "explain", *common, "--method", "saliency", "--out", "out")
    assert len(list((installed / "out").glob("*saliency*.npy"))) == 2


def test_its_view_is_on_the_dashboard_and_linked(installed):
    _run(installed, sys.executable, "-c", DASHBOARD)


def test_it_passes_the_contracts(installed):
    tests = [sys.executable, "-m", "pytest", "-q", "-n", "0", "--color=no", "-p", "no:cacheprovider", "--rootdir", ROOT]
    suites = [ROOT / "tests" / "contracts" / f"test_{kind}.py" for kind in ("models", "methods", "views")]
    # One of the suite's tests builds the demo; the test above shows the view on a filled warehouse.
    chosen = "(brightness or saliency or doubts) and not follows and not freed"
    printed = _run(installed, *tests, *suites, "-k", chosen)
    assert int(printed.rpartition(" passed")[0].split()[-1]) > 10


def test_the_page_shows_the_package(reader):
    blocks = [block for section in reader.sections("plug-ins.md").values() for block in section]
    shown = {language.split('"')[1]: text for language, text in blocks if "title=" in language}
    assert set(shown) == {"pyproject.toml", "brightness/model.py", "brightness/method.py", "brightness/view.py"}
    for name, text in shown.items():
        assert text.strip() in (PACKAGE / name).read_text(encoding="utf-8")
