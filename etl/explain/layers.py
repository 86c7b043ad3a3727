"""Where to explain: the last spatial map of a classifier, found by watching one forward pass."""

from __future__ import annotations

import difflib
import math
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules import dropout
from torch.overrides import TorchFunctionMode

from etl.explain.logits import logits_of
from warehouse.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch.utils.hooks import RemovableHandle

_PASSING = (dropout._DropoutNd, nn.Identity, nn.Flatten, nn.Unflatten)
"""Modules that in evaluation mode return what they were given."""

_ACTIVATIONS = frozenset(
    {
        *("relu", "relu6", "hardtanh", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu"),
        *("gelu", "silu", "mish", "hardswish", "softplus", "softsign", "tanh"),
    }
)
"""Functions, also in their in-place forms, that a network may call on its last map without a module around them."""

_MERGING = frozenset({"add", "iadd"})
"""Likewise: the sum at the end of a residual network."""

_EXTRA_TOKENS = 8
"""Most tokens that may come before those of the patches: class token, distillation token, registers."""


@dataclass(frozen=True)
class Layer:
    """One activation of a model: what a submodule, or a function of torch, returns at one of its calls.

    Parameters
    ----------
    name
        Dotted name of the submodule, as in ``model.named_modules()``; of a function ``"relu"``.
    call
        Which of its calls within a forward pass, from 1; a shared activation is called many times.
    grid
        None for maps; for token sequences (B, T, C), the (h, w) that the last h*w tokens form.
    channels_last
        Whether maps come as (B, h, w, C), as inside Swin transformers, and not as (B, C, h, w).
    function
        Whether it is a function that the model calls itself, as in ``F.relu(self.bn(x))``.
    """

    name: str
    call: int = 1
    grid: tuple[int, int] | None = None
    channels_last: bool = False
    function: bool = False

    def __str__(self) -> str:
        name = f"{self.name}()" if self.function else self.name
        return name if self.call == 1 else f"{name} (call {self.call})"

    def maps(self, activation: Tensor) -> Tensor:
        """Reshape an activation of this layer, or its gradient, to channel maps (B, C, h, w)."""
        if self.grid is None:
            return activation.permute(0, 3, 1, 2) if self.channels_last else activation
        height, width = self.grid
        patches = activation[:, -height * width :]
        return patches.transpose(1, 2).reshape(activation.shape[0], -1, height, width)

    @contextmanager
    def replaced(self, model: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
        """Let the model go on, in one forward pass, with what ``change`` makes of this activation.

        Parameters
        ----------
        model
            The classifier; nothing of the intervention stays behind.
        change
            Called once a pass with the activation.
        """
        calls = 0

        def at_call(output: Tensor) -> Tensor | None:
            nonlocal calls
            calls += 1
            return change(output) if calls == self.call else None

        if self.function:
            with _Functions(lambda name, output: at_call(output) if name == self.name else None):
                yield
            return
        handle = model.get_submodule(self.name).register_forward_hook(lambda _module, _args, output: at_call(output))
        try:
            yield
        finally:
            handle.remove()


def find_layer(model: nn.Module, example: Tensor) -> Layer:
    """Find the activation to explain: the last spatial feature map, before pooling and classifier.

    That is the last convolutional layer of Grad-CAM's section 3, with its activation function: among all that
    submodules return during one forward pass, the last of more than one pixel that comes before the last layer with
    weights (the classifier, a convolution in SqueezeNet) and is not the result of pooling. Of the names that return
    this same map the outermost is taken (``features``, ``layer4``). Where the model itself goes on with an activation
    function or a sum, as in ``F.relu(self.bn(x))``, the result of that is explained, if all that the classifier sees
    comes through it.

    When sequences of tokens follow the last map, it is the last of them whose patches still reach the classifier: a
    vision transformer that classifies from its class token does not look at the patches behind its last attention.

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
        If no layer returns a spatial map, or the tokens of the last layers have no place on the image.
    """
    with torch.enable_grad():
        outputs = _watch(model, example.detach().requires_grad_())
    weighted = [i for i, output in enumerate(outputs) if output.is_weighted]
    head = weighted[-1] if weighted else len(outputs)
    before = outputs[:head]
    # Queries, positions: what is made inside a block that returns a sequence need not be a map of the image.
    blocks = {output.layer.name for output in before if output.is_sequence}
    maps = [i for i, output in enumerate(before) if output.is_map]
    sure = max((i for i in maps if before[i].module is not None and not before[i].inside & blocks), default=-1)
    sequences = [output for output in before[sure + 1 :] if output.is_sequence]
    if sequences and weighted and (tokens := _last_tokens(sequences, outputs[head].source)) is not None:
        return tokens
    for i in reversed(maps):
        # Sequences of no use may be the pooling of a convolutional network, but not the greater part of a model.
        if sequences and 2 * sum(w > i for w in weighted) > len(weighted):
            break
        if i == sure or _is_only_way(model, example, before[i].layer):
            return _outermost(before, before[i])
    if sequences:
        raise UserError(
            f"{type(model).__name__} ends on sequences of {sequences[-1].tensor.shape[1]} tokens, whose places on the "
            "image cannot be told; name a layer that returns a feature map (batch, channels, height, width)."
        )
    raise UserError(
        f"{type(model).__name__} has no layer that returns a feature map (batch, channels, height, width); "
        "class activation maps need a convolutional network."
    )


def named_layer(model: nn.Module, name: str, example: Tensor) -> Layer:
    """Check that a layer named by the user can serve.

    Parameters
    ----------
    model, example
        As in :func:`find_layer`.
    name
        Dotted name of a submodule, or a layer as it is printed. When the submodule runs several times in a pass, its
        last call is meant.

    Returns
    -------
    Layer

    Raises
    ------
    UserError
        If there is no such layer or it returns no spatial map; the sentence lists layers that can serve.
    """
    with torch.no_grad():
        layers = [output.layer for output in _watch(model, example) if output.serves]
    for layer in reversed(layers):
        if name == str(layer) or (name == layer.name and not layer.function):
            return layer
    names = list(dict.fromkeys(layer.name for layer in reversed(layers) if not layer.function))
    known = dict(model.named_modules())
    problem = "returns no feature map (batch, channels, height, width)" if name in known else "does not exist"
    close = difflib.get_close_matches(name, names, n=3)
    shown = ", ".join(dict.fromkeys([*close, *names][:8])) or "none"
    raise UserError(f"Layer {name!r} of {type(model).__name__} {problem}; layers that can serve: {shown}.")


@dataclass(frozen=True, eq=False)
class _Output:
    """A tensor that a submodule, or a function, returned while it was watched."""

    layer: Layer
    module: nn.Module | None
    inside: frozenset[str]  # names of the submodules that were at work
    tensor: Tensor
    source: Tensor | None  # what went in
    serves: bool  # whether it is spatial: a map, or tokens with a place on the image

    @property
    def is_map(self) -> bool:
        """Whether it is a map, and made here."""
        return self.serves and self.tensor.ndim == 4 and not isinstance(self.module, _PASSING)

    @property
    def is_weighted(self) -> bool:
        """Whether the module itself multiplies by a matrix or kernel: a linear layer, a convolution."""
        return self.module is not None and any(
            "weight" in name and parameter is not None and parameter.ndim >= 2
            for name, parameter in self.module.named_parameters(recurse=False)
        )

    @property
    def is_sequence(self) -> bool:
        """Whether it looks like the tokens of a transformer, not like its queries or values (linear layers)."""
        is_block = self.module is not None and not self.is_weighted and not isinstance(self.module, _PASSING)
        return is_block and self.tensor.ndim == 3


class _Functions(TorchFunctionMode):
    """Shows what functions of torch return while it is active, and what is to be returned instead."""

    def __init__(self, seen: Callable[[str, Tensor], Tensor | None]) -> None:
        super().__init__()
        self._seen = seen

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        # relu_ and __iadd__ are relu and iadd.
        other = self._seen(getattr(func, "__name__", "").strip("_"), result) if isinstance(result, Tensor) else None
        return result if other is None else other


def _watch(model: nn.Module, example: Tensor) -> list[_Output]:
    """Collect what submodules, activation functions and sums return in one pass, in the order in which they end."""
    outputs: list[_Output] = []
    calls: Counter[tuple[str, bool]] = Counter()
    working: list[str] = []
    pooled: list[Tensor] = []
    # Shapes of maps whose pixels are put in one row, (C, h * w): those are no tokens.
    rows: set[tuple[int, ...]] = set()

    def note(name: str, module: nn.Module | None, tensor: object, source: object = None) -> None:
        calls[name, module is None] += 1
        if not isinstance(tensor, Tensor) or (tensor.ndim == 3 and tuple(tensor.shape[1:]) in rows):
            return
        if tensor.ndim == 4:
            rows.add((tensor.shape[1], tensor.shape[2] * tensor.shape[3]))
        layer = Layer(name, calls[name, module is None], function=module is None)
        placed = None if any(tensor is other for other in pooled) else _placed(layer, tensor, example)
        went_in = source if isinstance(source, Tensor) else None
        outputs.append(_Output(placed or layer, module, frozenset(working), tensor, went_in, placed is not None))

    def function(name: str, result: Tensor) -> None:
        if "pool" in name:
            pooled.append(result)
        elif name in _ACTIVATIONS or name in _MERGING:
            note(name, None, result)

    def hooks(name: str, module: nn.Module) -> Iterator[RemovableHandle]:
        def end(_module: nn.Module, args: tuple[object, ...], result: object) -> None:
            working.pop()
            note(name, module, result, args[0] if args else None)

        yield module.register_forward_pre_hook(lambda _module, _args: working.append(name))
        yield module.register_forward_hook(end)

    handles = [handle for name, module in model.named_modules() if name for handle in hooks(name, module)]
    try:
        with _Functions(function):
            result = model(example.clone())
        logits_of(result, len(example))  # complain early about a model that is no classifier
    finally:
        for handle in handles:
            handle.remove()
    return outputs


def _placed(layer: Layer, tensor: Tensor, image: Tensor) -> Layer | None:
    """Say how a tensor lies on the image: as a map, or as tokens in rows; None if it does not, or is one pixel."""
    if tensor.ndim not in {3, 4} or not tensor.is_floating_point() or 0 in tensor.shape:
        return None
    if len(tensor) != len(image):
        return None  # windows of a transformer, in a batch of their own
    if tensor.ndim == 4:
        last = _distortion(tensor.shape[1:3], image) < _distortion(tensor.shape[2:], image)
        height, width = tensor.shape[1:3] if last else tensor.shape[2:]
        return replace(layer, channels_last=last) if height * width > 1 else None
    # Tokens of functions have no name that a user would know; the module around them returns them, too.
    grid = None if layer.function else _grid(tensor.shape[1], image)
    return None if grid is None else replace(layer, grid=grid)


def _distortion(size: Sequence[int], image: Tensor) -> float:
    """Tell how far a map of this height and width is from the image's proportions: 0 the same, log 2 twice as wide."""
    return abs(math.log(size[0] * image.shape[3] / (size[1] * image.shape[2])))


def _grid(tokens: int, image: Tensor) -> tuple[int, int] | None:
    """Find rows and columns of the patches among some tokens: the proportions of the image leave one choice."""
    wide = image.shape[3] / image.shape[2]
    for patches in range(tokens, max(1, tokens - _EXTRA_TOKENS - 1), -1):
        rows = max(1, round(math.sqrt(patches / wide)))
        if patches % rows == 0 and abs(patches // rows - rows * wide) < 1:
            return rows, patches // rows
    return None


def _outermost(outputs: Sequence[_Output], chosen: _Output) -> Layer:
    """Choose among the layers that returned this same tensor: a submodule, the outermost, the last."""
    same = [o.layer for o in outputs if o.tensor is chosen.tensor and o.is_map and not o.layer.function]
    depth = min((layer.name.count(".") for layer in same), default=0)
    return next((layer for layer in reversed(same) if layer.name.count(".") == depth), chosen.layer)


def _is_only_way(model: nn.Module, example: Tensor, layer: Layer) -> bool:
    """Whether all that the classifier knows of the image comes through a layer, as through no branch of a sum."""
    with torch.enable_grad(), layer.replaced(model, Tensor.detach):
        scores = logits_of(model(example.detach().requires_grad_().clone()), len(example))
    return not scores.requires_grad


def _last_tokens(sequences: Sequence[_Output], features: Tensor | None) -> Layer | None:
    """Find the last tokens whose patches reach the classifier, given the features that went into it."""
    if features is None or not features.requires_grad:
        return None
    # The classifier's input, not the logits: torchvision's transformers start with a head of zeros. Fixed pseudo-random
    # weights, so that no feature's gradient cancels another's.
    weights = torch.cos(torch.arange(features.numel(), device=features.device, dtype=features.dtype))
    score = (features.flatten() * weights).sum()
    for output in reversed(sequences):
        if output.serves and output.tensor.requires_grad:
            # One after the other, because it is most often among the last, which are cheap.
            (gradient,) = torch.autograd.grad(score, output.tensor, retain_graph=True, allow_unused=True)
            if gradient is not None and bool(output.layer.maps(gradient).any()):
                return output.layer
    return None
