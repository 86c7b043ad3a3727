"""Where to explain: the last spatial map of a classifier, found by watching one forward pass."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules import dropout, pooling

from etl.explain.logits import logits_of
from warehouse.errors import UserError

_POOLING = (
    pooling._MaxPoolNd,
    pooling._AvgPoolNd,
    pooling._AdaptiveMaxPoolNd,
    pooling._AdaptiveAvgPoolNd,
    pooling._LPPoolNd,
)
_PASSING = (dropout._DropoutNd, nn.Identity)


@dataclass(frozen=True)
class Layer:
    """One activation of a model: what a submodule returns at one of its calls.

    Parameters
    ----------
    name
        Dotted name of the submodule, as in ``model.named_modules()``.
    call
        Which of the submodule's calls within a forward pass, from 1; a shared activation is called many times.
    grid
        None for maps; for token sequences (B, T, C), the (h, w) that the last h*w tokens form.
    channels_last
        Whether maps come as (B, h, w, C), as inside Swin transformers, and not as (B, C, h, w).
    """

    name: str
    call: int = 1
    grid: tuple[int, int] | None = None
    channels_last: bool = False

    def __str__(self) -> str:
        return self.name if self.call == 1 else f"{self.name} (call {self.call})"

    def maps(self, activation: Tensor) -> Tensor:
        """Reshape an activation of this layer, or its gradient, to channel maps (B, C, h, w)."""
        if self.grid is None:
            return activation.permute(0, 3, 1, 2) if self.channels_last else activation
        height, width = self.grid
        patches = activation[:, -height * width :]
        return patches.transpose(1, 2).reshape(activation.shape[0], -1, height, width)


@dataclass(frozen=True)
class _Output:
    """A tensor that a submodule returned while it was watched."""

    name: str
    call: int
    module: nn.Module
    tensor: Tensor
    source: Tensor | None  # what went in


def find_layer(model: nn.Module, example: Tensor) -> Layer:
    """Find the activation to explain: the last spatial feature map, before pooling and classifier.

    That is the last convolutional layer of Grad-CAM's section 3, with its activation function: among all outputs of
    submodules during one forward pass, the last of more than one pixel that comes before the last layer with weights
    (the classifier, a convolution in SqueezeNet) and is not the result of a pooling layer. Of the names that return
    this same map the outermost is taken (``features``, ``layer4``).

    Parameters
    ----------
    model
        In evaluation mode, with frozen parameters.
    example
        Input of the model, (B, 3, H, W); one image is enough.

    Returns
    -------
    Layer

    Raises
    ------
    UserError
        If no layer returns a spatial map.
    """
    with torch.no_grad():
        outputs = _watch(model, example)
    weighted = [i for i, output in enumerate(outputs) if _has_weights(output.module)]
    head = weighted[-1] if weighted else len(outputs)
    spatial = [output for output in _unpooled(outputs[:head]) if _is_map(output.tensor)]
    if weighted and spatial and (tokens := _last_tokens(model, example, outputs, head, spatial[-1])) is not None:
        return tokens
    if not spatial:
        raise UserError(
            f"{type(model).__name__} has no layer that returns a feature map (batch, channels, height, width); "
            "class activation maps need a convolutional network."
        )
    last = spatial[-1].tensor
    same = [output for output in spatial if output.tensor is last]
    depth = min(output.name.count(".") for output in same)
    chosen = [output for output in same if output.name.count(".") == depth][-1]
    return Layer(chosen.name, chosen.call, channels_last=_is_channels_last(last))


def named_layer(model: nn.Module, name: str, example: Tensor) -> Layer:
    """Check that a layer named by the user can serve.

    Parameters
    ----------
    model, example
        As in :func:`find_layer`.
    name
        Dotted name of a submodule. When the submodule runs several times in a pass, its last call is meant.

    Returns
    -------
    Layer

    Raises
    ------
    UserError
        If there is no such layer or it returns no spatial map; the sentence lists layers that can serve.
    """
    with torch.no_grad():
        outputs = _watch(model, example)
    maps = [output for output in outputs if _is_map(output.tensor)]
    names = list(dict.fromkeys(output.name for output in maps))
    found = [output for output in maps if output.name == name]
    if found:
        return Layer(name, found[-1].call, channels_last=_is_channels_last(found[-1].tensor))
    for output in reversed(outputs):
        if output.name == name and maps and _is_tokens(output.tensor, _grid(maps[-1])):
            return Layer(name, output.call, _grid(maps[-1]))
    known = dict(model.named_modules())
    problem = "returns no feature map (batch, channels, height, width)" if name in known else "does not exist"
    close = difflib.get_close_matches(name, names, n=3)
    shown = ", ".join(dict.fromkeys([*close, *reversed(names)][:8])) or "none"
    raise UserError(f"Layer {name!r} of {type(model).__name__} {problem}; layers that can serve: {shown}.")


def _watch(model: nn.Module, example: Tensor) -> list[_Output]:
    """All tensors that submodules return during one pass, in the order in which the calls end."""
    outputs: list[_Output] = []
    calls: dict[str, int] = {}
    handles = []

    def watch(name: str, module: nn.Module) -> None:
        def hook(_module: nn.Module, args: tuple[object, ...], result: object) -> None:
            calls[name] = calls.get(name, 0) + 1
            if isinstance(result, Tensor):
                source = args[0] if args and isinstance(args[0], Tensor) else None
                outputs.append(_Output(name, calls[name], module, result, source))

        handles.append(module.register_forward_hook(hook))

    for name, module in model.named_modules():
        if name:  # the model itself is no layer
            watch(name, module)
    try:
        logits_of(model(example.clone()), len(example))  # complain early about a model that is no classifier
    finally:
        for handle in handles:
            handle.remove()
    return outputs


def _has_weights(module: nn.Module) -> bool:
    """Whether a module itself multiplies by a matrix or kernel: a linear layer, a convolution."""
    return any(
        "weight" in name and parameter is not None and parameter.ndim >= 2
        for name, parameter in module.named_parameters(recurse=False)
    )


def _unpooled(outputs: list[_Output]) -> list[_Output]:
    """Drop what pooling layers return, also under the names of the containers that end with them."""
    pooled = [output.tensor for output in outputs if isinstance(output.module, _POOLING)]
    return [
        output
        for output in outputs
        if not isinstance(output.module, (*_POOLING, *_PASSING)) and all(output.tensor is not t for t in pooled)
    ]


def _is_map(tensor: Tensor) -> bool:
    if tensor.ndim != 4 or not tensor.is_floating_point():
        return False
    return tensor.shape[1 if _is_channels_last(tensor) else 3] * tensor.shape[2] > 1


def _is_channels_last(tensor: Tensor) -> bool:
    """Whether a map's shape says (B, h, w, C). Images are square in practice, and so are maps: nothing else tells."""
    return tensor.shape[1] == tensor.shape[2] != tensor.shape[3]


def _is_tokens(tensor: Tensor, grid: tuple[int, int]) -> bool:
    # A handful of extra tokens may come first: class token, distillation token, registers.
    extra = tensor.shape[1] - grid[0] * grid[1] if tensor.ndim == 3 else -1
    return 0 <= extra <= 8 and tensor.is_floating_point()


def _grid(output: _Output) -> tuple[int, int]:
    """Rows and columns of a map; of the patch embedding they are those of the tokens that follow."""
    return output.tensor.shape[2], output.tensor.shape[3]


def _last_tokens(
    model: nn.Module, example: Tensor, outputs: list[_Output], head: int, patches: _Output
) -> Layer | None:
    """Find the last token sequence whose patches still reach the classifier, when tokens follow the last map.

    A vision transformer classifies from its class token, so behind the last attention the patches have no influence.
    """
    grid = _grid(patches)
    start = next(i for i, output in enumerate(outputs) if output is patches)
    if not any(_is_tokens(output.tensor, grid) for output in outputs[start:head]):
        return None
    with torch.enable_grad():
        recorded = _watch(model, example.detach().clone().requires_grad_())
        # As wide as the patch embedding: the residual stream, not queries or hidden layers.
        width = patches.tensor.shape[1]
        tokens = [o for o in recorded[start:head] if _is_tokens(o.tensor, grid) and o.tensor.shape[2] == width]
        # The classifier's input, not the logits: torchvision's transformers start with a head of zeros.
        features = recorded[head].source
        if not tokens or features is None or not features.requires_grad:
            return None
        # Fixed pseudo-random weights, so that no feature's gradient cancels another's.
        weights = torch.cos(torch.arange(features.numel(), device=features.device, dtype=features.dtype))
        score = (features.flatten() * weights).sum()
        gradients = torch.autograd.grad(score, [output.tensor for output in tokens], allow_unused=True)
    for output, gradient in zip(reversed(tokens), reversed(gradients), strict=True):
        if gradient is not None and bool(gradient[:, -grid[0] * grid[1] :].any()):
            return Layer(output.name, output.call, grid)
    return None
