"""All five methods on every classifier of torchvision, whose layers nobody names."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from etl.explain import PreparedModel, explain
from etl.explain.grad_cam import grad_cam_map
from warehouse.errors import UserError

METHODS = {
    "grad-cam": {},
    "grad-cam++": {},
    "smooth-grad-cam++": {"samples": 2},
    "score-cam": {"channels": 4},
    "bbmp": {"iterations": 2},
}
GRADIENT_METHODS = ("grad-cam", "grad-cam++", "smooth-grad-cam++")

LAYERS = {
    "alexnet": "features.11",  # before the last pooling, as in the paper
    "convnext": "features",
    "densenet": "features",
    "efficientnet": "features",
    "googlenet": "inception5b",
    "inception": "Mixed_7c",
    "maxvit": "blocks.3",
    "mnasnet": "layers",
    "mobilenet": "features",
    "regnet": "trunk_output",
    "resnet": "layer4",
    "resnext": "layer4",
    "shufflenet": "conv5",
    "squeezenet": "features",
    "swin": "permute",  # the normalised map of the last stage, in the order of a convolution
    "vgg11": "features.19",
    "vgg13": "features.23",
    "vgg16": "features.29",
    "vgg19": "features.35",
    "vgg11_bn": "features.27",
    "vgg13_bn": "features.33",
    "vgg16_bn": "features.42",
    "vgg19_bn": "features.51",
    # Classified from the class token, so that patches count for the last time before the last attention.
    "vit_b": "encoder.layers.encoder_layer_11.ln_1",
    "vit_l": "encoder.layers.encoder_layer_23.ln_1",
    "vit_h": "encoder.layers.encoder_layer_31.ln_1",
    "wide_resnet": "layer4",
}
"""By the beginning of the name; the longest that fits counts."""

LARGE = 100_000  # parameters that are worth a shortcut
FILLING = {
    "uniform_",
    "normal_",
    "erfinv_",
    "mul_",
    "add_",
    "clamp_",
    "zero_",
    "fill_",
    "kaiming_uniform_",
    "kaiming_normal_",
}


class _WithoutInitialising(TorchFunctionMode):
    """Leave large parameters as they are while a model is built: drawing random numbers takes most of the time."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        filled = args[0] if args else kwargs.get("tensor")  # torch.nn.init names it
        is_large = isinstance(filled, nn.Parameter) and filled.numel() > LARGE
        if not is_large or func.__name__ not in FILLING:
            return func(*args, **kwargs)
        # trunc_normal_ draws again what lies outside its bounds: left to memory, other numbers would follow every time.
        return filled.zero_() if func.__name__ == "normal_" else filled


def _build(name: str) -> tuple[nn.Module, int]:
    """A model with random weights of the usual size, and the side of a small image that it takes."""
    side, options = 40, {}
    if name.startswith(("alexnet", "convnext", "densenet", "googlenet", "squeezenet")):
        side = 64  # one pixel is left of less
    elif name.startswith("vit"):
        side = options["image_size"] = 3 * int(name.rpartition("_")[2])
    elif name == "maxvit_t":
        side = 224  # its windows of 7 x 7 must fit into every stage
    elif name == "inception_v3":
        side = 107
    if name in {"googlenet", "inception_v3"}:
        options = {"init_weights": False}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(2 if name == "maxvit_t" else 0)  # of 0 its Grad-CAM++ maps are zero for nearly all classes
        with _WithoutInitialising():
            model = torchvision.models.get_model(name, weights=None, **options)
        numbers = torch.randn(1_000_003)
        for parameter in model.parameters():
            if parameter.numel() > LARGE:
                scale = math.sqrt(2 / parameter[0].numel())
                for part in parameter.view(-1).split(len(numbers)):
                    torch.mul(numbers[: len(part)], scale, out=part)
        # Statistics of real activations, without which the depth of a network decides how large its scores are.
        norms = [module for module in model.eval().modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.train().momentum = 1.0
        if norms:
            model(torch.randn(2, 3, side, side))
    return model.eval(), side


def _speaking_target(model: nn.Module, image: Tensor) -> tuple[PreparedModel, Tensor]:
    """The class with the strongest Grad-CAM map: a map of zeros would show nothing."""
    prepared = PreparedModel(model, image)
    with prepared.session():
        cut = prepared.cut(prepared.images(image))
        peaks = [grad_cam_map(cut.activations, cut.gradients(torch.tensor([c]))).amax() for c in range(16)]
        height, width = cut.activations.shape[2:]
        assert height == width > 1
    best = torch.stack(peaks).max(dim=0)
    assert best.values > 0
    return prepared, best.indices[None]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*maps of (BBMP|Score-CAM) are zero everywhere")
@pytest.mark.parametrize("name", torchvision.models.list_models(module=torchvision.models))
def test_all_methods_on_every_classifier_of_torchvision(monkeypatch, name):
    # BBMP looks for the disk that it begins with in 34 steps, which would be most of the time.
    monkeypatch.setattr("etl.explain.bbmp._radii", lambda: range(0, 180, 60))
    model, side = _build(name)
    image = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    prepared, target = _speaking_target(model, image)
    assert str(prepared.layer) == LAYERS[max((begin for begin in LAYERS if name.startswith(begin)), key=len)]
    for method, parameters in METHODS.items():
        maps = explain(model, image, target, method, **parameters)
        assert maps.shape == (1, side, side)
        assert maps.dtype == torch.float32
        assert torch.isfinite(maps).all()
        assert maps.min() >= 0
        assert maps.max() <= 1
        if method in GRADIENT_METHODS:
            assert maps.max() == 1


TIMM = {
    "levit_128s": "stages",
    "deit_tiny_patch16_224": "blocks.11.norm1",
    "deit_tiny_distilled_patch16_224": "blocks.11.norm1",
    "deit3_small_patch16_224": "blocks.11.norm1",
    "vit_wee_patch16_reg1_gap_256": "blocks",
    "vit_small_patch16_rope_224": "blocks.11.norm1",
    "naflexvit_base_patch16_gap": "blocks.11",
    "swin_tiny_patch4_window7_224": "norm",
    "swinv2_cr_tiny_224": "stages",
    "maxvit_rmlp_pico_rw_256": "norm",
    "cait_xxs24_224": "blocks_token_only.1.norm1",
    "mixer_s16_224": "norm",
    "gmlp_s16_224": "norm",
    "resmlp_12_224": "norm",
    "convit_tiny": "blocks.11.norm1",
    "coat_lite_tiny": "serial_blocks4.1.norm1",
    "crossvit_tiny_240": "blocks.2.fusion.1.norm1",
    "hiera_tiny_224": "blocks.11",
    "mvitv2_tiny": "norm",
    "pit_ti_224": "transformers.2.blocks.3.norm1",
    "pvt_v2_b0": "stages",
    "tnt_s_patch16_224": "blocks.11.norm_out",
    "twins_svt_small": "norm",
    "volo_d1_224": "norm",
    "xcit_nano_12_p16_224": "cls_attn_blocks.1.norm1",
    "efficientformer_l1": "norm",
    "resnet50_clip": "stages",  # pooled by attention
}
"""Transformers in all their forms, and networks with some attention."""


@pytest.mark.slow
@pytest.mark.parametrize(("model_name", "layer"), TIMM.items(), ids=str)
def test_tokens_lie_where_their_patches_are(model_name, layer):
    """Whatever happens to a quarter of the image changes that quarter of the map most."""
    timm = pytest.importorskip("timm")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model(model_name).eval()
        for name, parameter in model.named_parameters():
            # Branches of a new transformer add almost nothing, and some heads are zero.
            if not name.endswith("bias") and parameter.abs().max() < 1e-3:
                nn.init.normal_(parameter, std=0.1)
    side = model.default_cfg["input_size"][1]
    image = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    prepared, target = _speaking_target(model, image)
    assert str(prepared.layer) == layer
    assert explain(model, image, target).max() == 1
    if model_name == "levit_128s":
        return  # untrained, its last stages see every place of the image alike
    half = side // 2
    quarters = [
        (rows, columns) for rows in (slice(half), slice(half, None)) for columns in (slice(half), slice(half, None))
    ]
    with prepared.session():
        before = prepared.cut(image).activations
        for i, (rows, columns) in enumerate(quarters):
            other = image.clone()
            other[:, :, rows, columns] = 0
            change = (prepared.cut(other).activations - before).abs().sum(dim=1)
            assert int(F.adaptive_avg_pool2d(change, 2).flatten().argmax()) == i


@pytest.mark.parametrize(("name", "side"), [("googlenet", 64), ("inception_v3", 299)])
def test_auxiliary_heads_of_training_do_not_disturb(network, name, side):
    model = copy.deepcopy(network(name)).train()
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert isinstance(model(images), tuple)
    _, target = _speaking_target(model, images[:1])
    maps = explain(model, images[:1], target)
    assert model.training
    torch.testing.assert_close(maps, explain(model.eval(), images[:1], target), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ["resnet18", "convnext_tiny"])
def test_half_precision_is_computed_in_float32(network, images, name, dtype):
    """The weights are rounded, the arithmetic is not: it equals that of a float32 model with the rounded weights."""
    half = copy.deepcopy(network(name)).to(dtype)
    targets = torch.cat([_speaking_target(network(name), image[None])[1] for image in images])
    rounded = copy.deepcopy(half).float()
    for method in ("grad-cam", "layer-cam"):
        maps = explain(half, images.to(dtype), targets, method)
        assert maps.dtype == torch.float32
        torch.testing.assert_close(maps, explain(rounded, images.to(dtype).float(), targets, method), rtol=0, atol=1e-5)
    assert next(half.parameters()).dtype == dtype


def test_a_model_without_weights_is_refused(images):
    with torch.device("meta"):
        model = torchvision.models.resnet18()
    with pytest.raises(UserError, match="on the meta device and has no weights"):
        explain(model, images)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("method", METHODS)
def test_model_and_images_may_be_on_different_devices(network, images, method):
    model = network("resnet18")
    target = torch.cat([_speaking_target(model, image[None])[1] for image in images])
    expected = explain(model, images, target, method, **METHODS[method])
    there = copy.deepcopy(model).cuda()
    for batch, chosen in ((images, target), (images.cuda(), target.cuda()), (images, target.cuda())):
        maps = explain(there, batch, chosen, method, **METHODS[method])
        assert maps.device == batch.device
        torch.testing.assert_close(maps.cpu(), expected, rtol=0, atol=5e-3)
    assert explain(model, images.cuda(), target, method, **METHODS[method]).is_cuda
    assert all(parameter.is_cuda for parameter in there.parameters())
