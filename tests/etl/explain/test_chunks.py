"""Passes that fit into memory: measured, limited, and halved when memory runs out after all."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from etl.explain import Context, PreparedModel, explain, parameters_of
from etl.explain.chunks import in_chunks, is_out_of_memory
from etl.explain.footprint import footprint
from etl.explain.postprocess import normalise
from etl.plugins import METHODS, plugins
from warehouse.errors import UserError

BUDGETS = {
    "bbmp": {"iterations": 3},
    "score-cam": {"channels": 24},
    "smooth-grad-cam++": {"samples": 6},
}


def _method(name):
    return plugins(METHODS)[name].load()()


@pytest.fixture
def model(network):
    return network("demo:resnet18")


@pytest.fixture
def batch():
    return torch.randn(6, 3, 96, 96, generator=torch.Generator().manual_seed(0))


def test_chunks_cover_everything_in_order():
    assert list(in_chunks(7, 3, lambda part: (part.start, part.stop))) == [(0, 3), (3, 6), (6, 7)]
    assert list(in_chunks(0, 3, lambda part: part)) == []


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), "cpu"])
def test_passes_are_halved_until_they_fit(error):
    if error == "cpu":
        with pytest.raises(RuntimeError) as caught:
            torch.empty(1 << 60)
        error = caught.value
    assert is_out_of_memory(error)
    tried = []

    def run(part):
        tried.append(part.stop - part.start)
        if tried[-1] > 2:
            raise error
        return list(range(part.start, part.stop))

    assert [i for part in in_chunks(9, 9, run) for i in part] == list(range(9))
    assert tried == [9, 4, 2, 2, 2, 2, 1]


def test_a_single_image_that_does_not_fit_is_said_so():
    def run(part):
        raise torch.OutOfMemoryError

    with pytest.raises(UserError, match="not enough memory"):
        list(in_chunks(4, 4, run))


def test_other_errors_are_not_retried():
    with pytest.raises(RuntimeError, match="size"):
        list(in_chunks(4, 4, lambda part: torch.ones(2) @ torch.ones(3)))


def test_the_footprint_is_that_of_the_arithmetic():
    conv = nn.Conv2d(3, 4, 3, padding=1, bias=False).requires_grad_(False)
    head = nn.Linear(4, 5, bias=False).requires_grad_(False)
    x = torch.ones(2, 3, 8, 8)

    def run():
        a = conv(x)  # 2 * 4 * 8 * 8 floats
        b = a + 1  # as many, while a lives
        del a
        return head(b.mean((2, 3)))

    found = footprint(run)
    assert found.multiply_adds == 2 * 4 * 8 * 8 * 3 * 9 + 2 * 4 * 5
    assert found.nbytes == 2 * (2 * 4 * 8 * 8 * 4)
    assert footprint(run) == found


def test_passes_grow_with_the_memory_and_keep_to_the_given_chunk(model, batch):
    prepared = PreparedModel(model, batch)
    with prepared.session():
        images = prepared.images(batch)
        sizes = [prepared.pass_size(images, 6, Context(memory=memory), 16) for memory in (1, 1 << 20, 1 << 23, 1 << 30)]
        recorded = prepared.pass_size(images, 6, Context(memory=1 << 23), 16, graph=True)
        given = prepared.pass_size(images, 6, Context(chunk=5, memory=1), 16)
        nothing = prepared.pass_size(images, 0, Context(memory=1 << 30), 16)
    assert sizes[0] == 1
    assert sizes == sorted(sizes)
    assert sizes[-1] == 6
    assert recorded < sizes[2]
    assert given == 5
    assert nothing == 1  # a map without a single mask, for example


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        # Short, so that cancelling is quick: 1.8 and 7.6 billion multiplications an image, 40 billion a pass.
        ("_NEAR", {"resnet18": 15, "vgg11": 5}),
        # Small enough for the caches: 7 and 22 MiB an image, 88 a pass.
        ("_MULTIPLY_ADDS", {"resnet18": 13, "vgg11": 3}),
    ],
)
def test_passes_are_short_small_and_alike(monkeypatch, network, other, expected):
    monkeypatch.setattr(f"etl.explain.prepared.{other}", 1 << 60)
    monkeypatch.setattr("etl.explain.prepared._USES", 0)
    sizes = {}
    for name in ("resnet18", "vgg11"):
        prepared = PreparedModel(network(name), x := torch.zeros(1, 3, 224, 224))
        with prepared.session():
            sizes[name] = prepared.pass_size(x, 100, Context(), 16)
    assert sizes == expected


def test_passes_use_what_they_read_of_large_weights(network):
    sizes = {}
    for name in ("alexnet", "resnet18"):  # 11 and 155 multiplications for each weight and image
        prepared = PreparedModel(network(name), x := torch.zeros(1, 3, 224, 224))
        with prepared.session():
            sizes[name] = [prepared.pass_size(x, total, Context(), 6) for total in (3, 12, 220)]
            assert prepared.pass_size(x, 220, Context(memory=10 << 20), 6) < 6  # what the user says counts more
    assert sizes == {"alexnet": [3, 12, 22], "resnet18": [3, 6, 6]}


@pytest.mark.parametrize("name", ["grad-cam", "grad-cam++", "smooth-grad-cam++", "score-cam", "bbmp"])
def test_memory_is_obeyed_and_the_maps_are_the_same(model, batch, name):
    method = _method(name)
    parameters = parameters_of(method, BUDGETS.get(name, {}))
    prepared = PreparedModel(model, batch)
    targets = torch.arange(6)
    with prepared.session():
        images = prepared.images(batch)
        found = {}

        def run(memory=None):
            found[memory] = method.attribute(prepared, images, targets, parameters, Context(memory=memory)).maps

        run()
        free = footprint(run).nbytes
        one = Context(chunk=1)
        least = footprint(lambda: method.attribute(prepared, images, targets, parameters, one)).nbytes
        limit = (free + 2 * least) // 3
        assert least < limit < free
        assert footprint(lambda: run(limit)).nbytes <= limit
    torch.testing.assert_close(normalise(found[limit]), normalise(found[None]), rtol=0, atol=1e-3)


def test_memory_can_be_limited_by_the_user(model, batch):
    limited = explain(model, batch, method="grad-cam++", max_memory=1)
    torch.testing.assert_close(limited, explain(model, batch, method="grad-cam++"), rtol=0, atol=1e-5)


FLAT = """
import resource, sys, torch
from pathlib import Path
from torch import nn
from etl.explain import explain

torch.set_num_threads(1)
torch.manual_seed(0)
# Small: what one explanation leaves behind would show all the same, and 5,000 take half a minute.
model = nn.Sequential(
    nn.Conv2d(3, 16, 3, stride=2), nn.BatchNorm2d(16), nn.ReLU(inplace=True),
    nn.Conv2d(16, 32, 3), nn.ReLU(inplace=True),
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
).eval()
work = [("grad-cam", {}), ("grad-cam++", {}), ("smooth-grad-cam++", {"samples": 2}), ("score-cam", {"channels": 2}),
        ("bbmp", {"iterations": 1})]
page = resource.getpagesize()
resident = lambda: int(Path("/proc/self/statm").read_text().split()[1]) * page
after = []
for i in range(5000):
    # Shapes differ, as they do for users, so that caches by shape would show.
    side = 33 + 2 * (i % 7)
    method, more = work[4] if i % 25 == 24 else work[i % 4]
    explain(model, torch.rand(1, 3, side, side), torch.tensor([i % 10]), method, **more)
    if i % 500 == 499:
        after.append(resident())
print(after)
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*zero everywhere")
@pytest.mark.skipif(sys.platform != "linux", reason="reads the resident memory from /proc")
def test_memory_stays_flat_over_five_thousand_explanations():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FLAT], capture_output=True, text=True, check=True, timeout=280
    )
    after = [int(value) for value in done.stdout.strip("[]\n").split(",")]
    assert len(after) == 10
    assert after[-1] <= 1.05 * after[1], after
