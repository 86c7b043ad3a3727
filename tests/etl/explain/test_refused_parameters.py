"""Parameters of methods that are out of range."""

from __future__ import annotations

import pytest

from etl.explain import explain
from etl.explain.score_cam import ScoreCAM
from etl.explain.smooth_grad_cam_pp import SmoothGradCAMPlusPlus
from warehouse.errors import UserError


@pytest.mark.parametrize(
    ("method", "wrong"),
    [
        (SmoothGradCAMPlusPlus(), {"samples": 0}),
        (SmoothGradCAMPlusPlus(), {"noise": -1}),
        (SmoothGradCAMPlusPlus(), {"average": "median"}),
        (SmoothGradCAMPlusPlus(), {"seed": 0.5}),
        (ScoreCAM(), {"weight": "cosine"}),
        (ScoreCAM(), {"channels": 0}),
        (ScoreCAM(), {"precision": "float16"}),
    ],
)
def test_parameters_out_of_range_are_refused(network, images, method, wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        explain(network("demo:resnet18"), images, method=method, **wrong)
