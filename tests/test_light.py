"""A built warehouse is looked at without torch: it is not imported until somebody is about to ask for an explanation.

Nor need it be installed. The test takes it away by making Python's own finder blind for it.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

INSTALL = "run: pip install torch torchvision"

BLIND = """
import sys
from importlib.machinery import PathFinder

find = PathFinder.find_spec

def blind(name, path=None, target=None):
    return None if name.partition(".")[0] in {"torch", "torchvision", "timm", "captum"} else find(name, path, target)

PathFinder.find_spec = blind
"""

USE = """
import sys
from bokeh.document import Document

import warehouse
from vacpanel import Dashboard, serving
from vacpanel.page import page

with warehouse.open(FOLDER) as w:
    assert w.sql("SELECT count(*) FROM model_accuracy").fetchall() == [(13,)]

page(FOLDER)
dashboard = Dashboard(FOLDER)
document = Document()
document.add_root(dashboard.__panel__().get_root(document))
models = list(map(str, dashboard.warehouse.models()["model"]))
image = int(dashboard.warehouse.images_of(3)["image_id"][0])
for changes in (
    {"model": models[0]},
    {"root": dashboard.warehouse.roots()[-1]},
    {"classes": [3, 4]},
    {"models": models[:3], "images": [image]},
    {"methods": ["grad-cam", "score-cam"], "threshold": 0.7, "measure": "ssim"},
):
    dashboard.state.param.update(**changes)

# The examples that the ETL explained are shown, and their pictures drawn.
media = serving.media_of(dashboard.warehouse)
digests = dashboard.warehouse.sql("SELECT digest FROM explanations").fetchall()
assert digests
for digest, in digests:
    assert media.load(f"layers/{digest}/0")[1].startswith(b"\\x89PNG")
"""

RUN = """
import asyncio

asyncio.run(dashboard.controller.run())
assert dashboard.controller.message == "Explanations need PyTorch; run: pip install torch torchvision"
assert not dashboard.controller.busy
assert not dashboard.controller.rows
"""


def _run(code: str, folder) -> subprocess.CompletedProcess:
    code = f"FOLDER = {str(folder)!r}\n{code}"
    return subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)


def test_looking_around_imports_no_torch(demo_warehouse):
    heavy = "print([name for name in ('torch', 'torchvision', 'captum', 'timm', 'openTSNE') if name in sys.modules])"
    done = _run(USE + heavy, demo_warehouse)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_without_torch_all_but_explaining_works_and_that_says_what_to_install(demo_warehouse):
    done = _run(BLIND + USE + RUN, demo_warehouse)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["info", "FOLDER"], 0, "13 models"),
        (["publish", "FOLDER"], 0, "Generation"),
        (["models"], 2, INSTALL),
        (["methods"], 2, INSTALL),
        (["etl", "FOLDER/images", "--warehouse", "FOLDER/none", "--models", "resnet18"], 2, INSTALL),
        (["explain", "--warehouse", "FOLDER", "--models", "resnet18", "--image", "0", "--out", "FOLDER/o"], 2, INSTALL),
    ],
)
def test_commands_without_torch(demo_warehouse, arguments, status, said):
    arguments = [argument.replace("FOLDER", str(demo_warehouse)) for argument in arguments]
    done = _run(f"{BLIND}\nfrom vacpanel.cli import main\nmain({arguments!r})", demo_warehouse)
    assert done.returncode == status, done.stderr
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert status == 0 or len(done.stderr.strip().splitlines()) == 1, done.stderr
