"""Checkpoints of users, good and bad."""

from __future__ import annotations

import os
import pickle

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from etl.models import ModelError, resolve
from etl.models.checkpoints import read_state_dict, state_sha256

X = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(0)
    return torchvision.models.resnet18(weights=None, num_classes=7).eval()


def loaded(path, architecture="resnet18"):
    return resolve(f"torchvision:{architecture}@{path}").load()


@pytest.mark.parametrize(
    "wrap", [dict, lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model": {"state_dict": s}}]
)
def test_loads_what_torch_saved(tmp_path, resnet, wrap):
    torch.save(wrap(resnet.state_dict()), tmp_path / "r.pth")
    model = loaded(tmp_path / "r.pth")
    assert (model.outputs, model.class_names, model.family) == (7, None, "ResNet")
    assert not model.module.training
    assert torch.equal(model.module(X), resnet(X))


def test_loads_safetensors_of_a_parallel_half_precision_model(tmp_path, resnet):
    state = {f"module.{k}": v.half() if v.is_floating_point() else v for k, v in resnet.state_dict().items()}
    save_file(state, tmp_path / "r.safetensors")
    model = loaded(tmp_path / "r.safetensors")
    assert {p.dtype for p in model.module.parameters()} == {torch.float32}
    torch.testing.assert_close(model.module(X), resnet(X), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("architecture", ["squeezenet1_1", "mobilenet_v3_small", "shufflenet_v2_x0_5"])
def test_finds_the_number_of_classes_of_other_heads(tmp_path, architecture):
    module = torchvision.models.get_model(architecture, weights=None, num_classes=5).eval()
    torch.save(module.state_dict(), tmp_path / "m.pth")
    model = loaded(tmp_path / "m.pth", architecture)
    assert model.outputs == 5
    assert torch.equal(model.module(X), module(X))


def test_fingerprint_follows_the_file(tmp_path):
    module = torchvision.models.squeezenet1_1(weights=None, num_classes=2)
    path = tmp_path / "m.pth"
    model = resolve(f"squeezenet1_1@{path}")
    torch.save(module.state_dict(), path)
    first = model.fingerprint()
    assert first == model.fingerprint()
    with torch.no_grad():
        module.classifier[1].bias.add_(1)
    torch.save(module.state_dict(), path)
    assert model.fingerprint() != first


def test_state_digest_covers_values_and_names():
    a, b, c = (torch.nn.Linear(2, 2) for _ in range(3))
    b.load_state_dict(a.state_dict())
    assert state_sha256(a) == state_sha256(b) != state_sha256(c)
    assert state_sha256(torch.nn.Sequential(a)) != state_sha256(a)


class Malicious:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_nothing_in_a_checkpoint_is_executed(tmp_path, how):
    target, path = tmp_path / "executed", tmp_path / "evil.pth"
    if how == "torch":
        torch.save({"fc.weight": Malicious(target)}, path)
    else:
        path.write_bytes(pickle.dumps({"fc.weight": Malicious(target)}, protocol=2))
    with pytest.raises(ModelError, match=r"holds more than tensors|cannot be read"):
        loaded(path)
    assert not target.exists()


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"", "m.pth", "cannot be read|no checkpoint"),
        (b"hello", "m.pth", "no checkpoint|cannot be read"),
        (b"hello", "m.safetensors", "cannot be read"),
    ],
)
def test_damaged_files(tmp_path, content, name, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=message):
        loaded(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds no state dict"),
        ({}, "holds no state dict"),
        ({"epoch": 3}, "holds no state dict"),
        ({"w": torch.zeros(2)}, "no classification layer"),
        ({"fc.weight": torch.zeros(4, 512)}, "missing"),
    ],
)
def test_what_is_no_state_dict_of_the_architecture(tmp_path, content, message):
    torch.save(content, tmp_path / "m.pth")
    with pytest.raises(ModelError, match=message):
        loaded(tmp_path / "m.pth")


def test_a_whole_module_is_refused(tmp_path, resnet):
    torch.save(resnet, tmp_path / "m.pth")
    with pytest.raises(ModelError, match=r"save model.state_dict\(\)"):
        loaded(tmp_path / "m.pth")


def test_missing_file(tmp_path):
    with pytest.raises(ModelError, match="does not exist"):
        read_state_dict(tmp_path / "m.pth")
