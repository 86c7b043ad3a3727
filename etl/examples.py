"""Example explanations: every method on one image, so that people see what each looks like before they choose.

The paper's Visual Explanation View shows them before any task is run (section 5.1).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from etl.plugins import METHODS, plugins
from warehouse import open as open_warehouse
from warehouse.errors import VacpanelError
from warehouse.publish import publish

if TYPE_CHECKING:
    from pathlib import Path

    from warehouse import Warehouse

_log = logging.getLogger(__name__)


WORST_CHANNELS = 2048
"""Channels that a method's cost is estimated with: the widest last layer of the ResNets."""


def explain_example(path: str | Path, device: str = "auto", seconds: float = 60.0) -> int:
    """Explain one image with every method and publish the maps; what is there already costs nothing.

    Parameters
    ----------
    path
        The folder of a published warehouse.
    device
        Where to compute, as in :func:`etl.run`.
    seconds
        Methods that are likely to take longer, by their cost in forward passes and the model's measured latency, are
        left out; they can be run from the dashboard.

    Returns
    -------
    int
        Number of methods that gave a map; a method that fails is logged and left out.
    """
    with open_warehouse(path) as opened:
        chosen = choose_example(opened)
        if chosen is None:
            return 0
        from etl.explain.service import ExplanationService, Request

        model, image_id = chosen
        latency = (opened.model_row(model).latency_ms or 0.0) / 1000
        affordable = [method for method in plugins(METHODS) if _passes(method) * latency <= seconds]
        with ExplanationService(path, device) as service:
            requests = [Request(model, image_id, method) for method in affordable]
            done = 0
            for request, future in zip(requests, service.request_many(requests), strict=True):
                try:
                    future.result()
                    done += 1
                except VacpanelError as error:
                    _log.warning("No example of %s: %s", request.method, error)
    publish(path)
    return done


def choose_example(opened: Warehouse) -> tuple[str, int] | None:
    """Choose the most accurate model, and the image that it recognises with the median confidence of its right answers.

    The median, so that the example is neither the easiest image nor a borderline one; the same for the same warehouse.

    Returns
    -------
    (str, int) or None
        Model and image id; None without predictions.
    """
    rows = opened.sql(
        """
        SELECT model, image_id FROM predictions
        WHERE model = (SELECT model FROM model_accuracy ORDER BY top1 DESC, model LIMIT 1)
        ORDER BY correct DESC, confidence, image_id
        """
    ).fetchall()
    right = opened.sql(
        """
        SELECT count(*) FROM predictions
        WHERE correct AND model = (SELECT model FROM model_accuracy ORDER BY top1 DESC, model LIMIT 1)
        """
    ).fetchall()[0][0]
    return None if not rows else (str(rows[right // 2][0]), int(rows[right // 2][1]))


def _passes(name: str) -> float:
    """Estimate the cost of a method with its published parameters, in forward passes."""
    from etl.explain import load_method

    method = load_method(name)
    return method.cost(method.Parameters(), WORST_CHANNELS)
