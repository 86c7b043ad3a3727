"""Several classes of an image, and several methods, from shared passes."""

from __future__ import annotations

import pytest
import torch

from etl.explain import Context, PreparedModel, explain, explain_together, parameters_of
from etl.explain.classes import ExplainsClasses, attribute_classes
from etl.explain.grad_cam import GradCAM
from etl.explain.grad_cam_pp import GradCAMPlusPlus
from etl.explain.one_pass import attribute_together
from etl.plugins import METHODS, plugins
from warehouse.errors import UserError

BUDGETS = {
    "bbmp": {"iterations": 3},
    "score-cam": {"channels": 8},
    "smooth-grad-cam++": {"samples": 2},
}
SHARING = {"grad-cam": 2, "grad-cam++": 2, "smooth-grad-cam++": 2 * 2, "score-cam": 2 * 9}
"""Images that go forward for two images, whatever the number of classes."""

TARGETS = torch.tensor([[3, 1, 7], [0, 3, 9]])

pytestmark = pytest.mark.filterwarnings("ignore:.*zero everywhere")


@pytest.fixture
def model(network):
    return network("demo:alexnet")


@pytest.mark.parametrize("name", ["bbmp", *SHARING])
def test_classes_together_equal_classes_alone(model, images, name):
    together = explain(model, images, TARGETS, name, **BUDGETS.get(name, {}))
    assert together.shape == (2, 3, *images.shape[2:])
    for k in range(3):
        alone = explain(model, images, TARGETS[:, k], name, **BUDGETS.get(name, {}))
        torch.testing.assert_close(together[:, k], alone, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("name", "forwards"), SHARING.items())
def test_classes_share_forward_passes(model, images, name, forwards):
    method = plugins(METHODS)[name].load()()
    assert isinstance(method, ExplainsClasses)
    prepared = PreparedModel(model, images)
    assert prepared.layer
    before = prepared.forwards
    with prepared.session():
        found = attribute_classes(
            method,
            prepared,
            prepared.images(images),
            TARGETS,
            parameters_of(method, BUDGETS.get(name, {})),
            Context(chunk=4),
        )
    assert prepared.forwards - before == forwards
    assert torch.equal(found.targets, TARGETS)
    assert len(found.flags) == 2


def test_a_method_that_knows_one_class_is_run_for_each(model, images):
    method = plugins(METHODS)["bbmp"].load()()
    assert not isinstance(method, ExplainsClasses)
    prepared, seen = PreparedModel(model, images), []
    context = Context(progress=lambda fraction, maps: seen.append((fraction, maps)))
    with prepared.session():
        found = attribute_classes(
            method, prepared, prepared.images(images), TARGETS, parameters_of(method, {"iterations": 2}), context
        )
    assert found.maps.shape == (2, 3, 28, 28)
    assert torch.equal(found.targets, TARGETS)
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0
    assert 2 / 3 < fractions[-1] < 1
    assert all(maps is None for _, maps in seen)


def test_methods_together_equal_methods_alone(model, images, speaking_targets):
    targets = speaking_targets(model, images)
    found = explain_together(model, images, targets, ["grad-cam++", "smooth-grad-cam++", "grad-cam"])
    assert list(found) == ["grad-cam++", "smooth-grad-cam++", "grad-cam"]
    for name, maps in found.items():
        torch.testing.assert_close(maps, explain(model, images, targets, name), rtol=0, atol=1e-4)


def test_one_pass_methods_share_the_pass(model, images):
    prepared = PreparedModel(model, images)
    assert prepared.layer
    before = prepared.forwards
    with prepared.session():
        one, other = attribute_together(
            [GradCAM(), GradCAMPlusPlus()], prepared, prepared.images(images), None, Context()
        )
    assert prepared.forwards - before == len(images)
    assert torch.equal(one.targets, other.targets)
    assert not torch.allclose(one.maps, other.maps)


@pytest.mark.parametrize(
    "targets", [torch.zeros(3, 2, dtype=torch.long), torch.zeros(2, 0, dtype=torch.long), torch.full((2, 2), 10**6)]
)
def test_classes_that_do_not_fit_are_refused(model, images, targets):
    with pytest.raises(UserError, match="class"):
        explain(model, images, targets)
