"""The public names of ``etl``."""

from __future__ import annotations

import subprocess
import sys

import pytest

SETUPS = [
    "from etl import explain",
    "import etl.explain\nfrom etl import explain",
    "import etl.explain.layers\nfrom etl import explain",
    "import etl.pipeline\nfrom etl import explain",
    "from etl import explain\nimport etl.explain.layers as layers\nassert etl_explain_is_package()",
]


@pytest.mark.parametrize("setup", SETUPS)
def test_explain_is_a_function_and_a_package(setup):
    code = f"""
def etl_explain_is_package():
    import etl
    return etl.explain.layers.find_layer.__module__ == "etl.explain.layers"

{setup}
import inspect, torch
assert list(inspect.signature(explain).parameters)[:3] == ["model", "images", "targets"]
net = torch.nn.Sequential(
    torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 2)
)
assert explain(net, torch.randn(2, 3, 8, 8)).shape == (2, 8, 8)
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_names_are_lazy_and_complete():
    code = """
import sys, etl
assert {"run", "explain", "class_distances", "similarity"} <= set(dir(etl))
assert not {"torch", "duckdb", "numpy"} & set(sys.modules)
from etl import class_distances
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    import etl

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        etl.nothing  # noqa: B018
