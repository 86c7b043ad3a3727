"""What the recorded graph of a model's head proves about its gradients, so that they come cheaper, and exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch.autograd.graph import GradientEdge

from etl.explain import connected

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor
    from torch.autograd.graph import Node

_LINEAR = frozenset({connected.NODE}) | frozenset(
    f"{name}Backward{i}"
    for name in (
        *("Addmm", "Mm", "Matmul", "Linear", "Convolution", "MkldnnConvolution", "Gather", "IndexSelect", "Select"),
        *("Mean", "Sum", "AdaptiveAvgPool2D", "MkldnnAdaptiveAvgPool2D", "AvgPool2D", "Div", "Mul", "Add", "Sub"),
        *("View", "Reshape", "ReshapeAlias", "UnsafeView", "Squeeze", "Unsqueeze", "Flatten", "Clone", "Alias"),
        *("T", "Permute", "Transpose", "Expand", "Slice", "ToCopy", "AsStrided", "Neg"),
    )
    for i in (0, 1, 2)
)
"""Recorded operations that are linear in a tensor argument when no other argument depends on the activations."""

_FULLY_CONNECTED = frozenset({"AddmmBackward0", connected.NODE})

_FLATTENING = frozenset({"ViewBackward0", "UnsafeViewBackward0", "ReshapeAliasBackward0"})

_KEEPING_SUMS = frozenset({"MaxPool2DWithIndicesBackward0", "AdaptiveAvgPool2DBackward0", "CloneBackward0"})
"""Operations whose backward pass hands on a channel's gradient whole: its sum over positions is the same before and
after. A maximum takes all of a window's gradient, a mean shares it out in parts that add up to one."""


def is_affine(scores: Tensor, start: Tensor) -> bool:
    """Whether every recorded operation from ``scores`` back to ``start`` is affine: a chain without branches.

    Parameters
    ----------
    scores
        (B, N) class scores with their graph.
    start
        The activation where the graph begins.
    """
    arrived = False
    for node in _chain(scores, start):
        arrived = node is start.grad_fn
        # A quotient is linear in what is divided, which comes first.
        divisor = node.name().startswith("Div") and node.next_functions[0][0] is None
        if not arrived and (node.name() not in _LINEAR or divisor):
            return False
    return arrived


@dataclass(frozen=True)
class LastLayer:
    """The fully connected layer that gives the class scores.

    The gradient of a class's score with respect to the layer's input is the class's row of weights.

    Attributes
    ----------
    input
        Where in the graph the layer's input is: differentiate it.
    weight
        (N, D), the layer's.
    """

    input: GradientEdge
    weight: Tensor


def last_layer(scores: Tensor) -> LastLayer | None:
    """Return the fully connected layer, with weights that have no graph, that gives the scores (B, N); None if none."""
    node = scores.grad_fn
    if node is None or node.name() not in _FULLY_CONNECTED or (weight := _weight(node)) is None:
        return None
    source, output = node.next_functions[0 if node.name() == connected.NODE else 1]
    if source is None or sum(other is not None for other, _ in node.next_functions) > 1:
        return None
    return LastLayer(GradientEdge(source, output), weight)


@dataclass(frozen=True)
class Flattened:
    """The fully connected layer that reads a flattened map, position by position, as in AlexNet and VGG.

    Attributes
    ----------
    output
        Where in the graph the layer's output is: differentiate with respect to it.
    weight
        (D, C*h*w), the layer's; C channels of the map that it reads.
    channels
        C.
    """

    output: GradientEdge
    weight: Tensor
    channels: int

    def summed(self) -> Tensor:
        """Add up the weights over positions, (D, C): what an equal change of a whole channel adds to each output."""
        return self.weight.view(len(self.weight), self.channels, -1).sum(dim=2)


def flattened_map(scores: Tensor, start: Tensor) -> Flattened | None:
    """Find the fully connected layer behind a map (B, C, h, w), if the way to it keeps sums over positions.

    A change t_k of all of channel k reaches that layer as ``W.sum(positions) @ t``: so the sum over positions of the
    gradient, all that Grad-CAM asks for, needs the layer's large matrix only summed.

    Parameters
    ----------
    scores
        (B, N) class scores with their graph.
    start
        The map where the graph begins.

    Returns
    -------
    Flattened or None
        None where that cannot be proved from the graph: there is a branch, another operation, no such layer.
    """
    chain = list(_chain(scores, start))
    if start.ndim != 4 or not chain or chain[-1] is not start.grad_fn:
        return None
    sizes: tuple[int, ...] | None = None
    for node in reversed(chain[:-1]):
        if node.name() in _FULLY_CONNECTED and sizes is not None:
            return _fully_connected(node, sizes)
        if node.name() in _FLATTENING and sizes is None:
            sizes = tuple(node._saved_self_sym_sizes)  # type: ignore[attr-defined] # of what was flattened
        elif node.name() not in _KEEPING_SUMS:
            return None
    return None


def _fully_connected(node: Node, sizes: tuple[int, ...]) -> Flattened | None:
    weight = _weight(node)
    if weight is None or len(sizes) != 4 or weight.shape[1] != sizes[1] * sizes[2] * sizes[3]:
        return None
    return Flattened(GradientEdge(node, 0), weight, sizes[1])


def _weight(node: Node) -> Tensor | None:
    """Return the weights of a fully connected layer, (D, C); None where the product is another one."""
    weight: Tensor
    if node.name() == connected.NODE:
        (weight,) = node.saved_tensors  # type: ignore[attr-defined]
        return weight
    weight = node._saved_mat2.t()  # type: ignore[attr-defined]
    plain = node._saved_alpha == 1 and weight.is_contiguous()  # type: ignore[attr-defined]
    return weight if plain else None


def _chain(scores: Tensor, start: Tensor) -> Iterator[Node]:
    """Operations from ``scores`` back to ``start``, both included, as long as each has one argument with a graph.

    Two arguments with a graph, as of a sum or a product, are a branch; it ends before.
    """
    node = scores.grad_fn
    while node is not None:
        sources = [source for source, _ in node.next_functions if source is not None]
        if node is start.grad_fn:
            yield node
            return
        if len(sources) != 1:
            return
        yield node
        node = sources[0]
