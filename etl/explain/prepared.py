"""A classifier made ready for explanation: frozen, cut at one layer, its passes counted."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from etl.explain.folding import fold_batch_norms
from etl.explain.layers import Layer, find_layer, named_layer
from etl.explain.logits import logits_of
from etl.explain.shadow import clean_torch, placement, shadow
from warehouse.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True)
class Cut:
    """One forward pass that was cut at the explained layer: the trunk left no graph, the head can be differentiated.

    Parameters
    ----------
    layer
        Where the pass was cut.
    node
        The activation as the head consumed it, after an in-place activation function if one followed; part of the
        graph.
    logits
        (B, N) class scores, part of the graph.
    """

    layer: Layer
    node: Tensor
    logits: Tensor

    @property
    def activations(self) -> Tensor:
        """A of the papers, (B, C, h, w), without graph."""
        return self.layer.maps(self.node.detach())

    def gradients(self, targets: Tensor) -> Tensor:
        """Differentiate each image's target score with respect to the activations; may be asked many times.

        Parameters
        ----------
        targets
            (B,) int64 class indices.

        Returns
        -------
        torch.Tensor
            dy_c/dA, (B, C, h, w).

        Raises
        ------
        UserError
            If the class scores do not depend on the layer.
        """
        score = self.logits.gather(1, targets[:, None]).sum()
        if not score.requires_grad:
            raise UserError(f"The class scores do not depend on layer {str(self.layer)!r}; choose a later layer.")
        (gradient,) = torch.autograd.grad(score, self.node, retain_graph=True, allow_unused=True)
        if gradient is None:
            raise UserError(f"The class scores do not depend on layer {str(self.layer)!r}; choose a later layer.")
        return self.layer.maps(gradient)


class PreparedModel:
    """A frozen copy of a classifier with the layer to explain; the user's module is never touched.

    Not thread-safe: one thread uses one prepared model at a time.

    Parameters
    ----------
    module
        Any ``torch.nn.Module`` that maps images (B, 3, H, W) to class scores (B, N).
    example
        Images that the model accepts, (B, 3, H, W); the first serves to find the layer. None with a ready ``layer``.
    layer
        None finds the layer (:func:`etl.explain.layers.find_layer`), a name is checked, a :class:`Layer` taken as it
        is.
    outputs
        Which of the model's outputs are its classes, in this order; None takes all. What is left out enters no softmax.
    device
        Where to run; None where the module is.
    channels_last
        Keep weights and images channels-last, which convolutions prefer; costs a copy of the weights.
    fold
        Fold batch normalisations into convolutions (:func:`etl.explain.folding.fold_batch_norms`); worth its tracing
        for a model that is kept. Changes class scores by some 1e-5 of their spread.

    Attributes
    ----------
    forwards : int
        Images that went forward through the model so far.
    backwards : int
        Images for which a gradient went back, at least through the head.
    """

    def __init__(
        self,
        module: nn.Module,
        example: Tensor | None = None,
        layer: str | Layer | None = None,
        *,
        outputs: Sequence[int] | None = None,
        device: torch.device | None = None,
        channels_last: bool = False,
        fold: bool = False,
    ) -> None:
        self.forwards = 0
        self.backwards = 0
        self.module = shadow(module)
        if device is not None:
            self.module.to(device)
        self.device, self.dtype = placement(self.module)
        self._outputs = None if outputs is None else torch.tensor(outputs, device=self.device)
        self._memory_format = torch.channels_last if channels_last else torch.contiguous_format
        if fold:
            fold_batch_norms(self.module)
        if channels_last:
            self.module.to(memory_format=torch.channels_last)
        self._layer = layer
        self._example = None if example is None else example[:1].detach()

    @property
    def layer(self) -> Layer:
        """The layer that is explained; found or checked, at the price of one pass, when it is first asked for.

        Raises
        ------
        UserError
            If there is no such layer, or none that can serve.
        """
        if not isinstance(self._layer, Layer):
            if self._example is None:
                raise ValueError("finding a layer needs an example image")
            with self.session():
                image = self.images(self._example)
                self.forwards += 1
                name = self._layer
                self._layer = find_layer(self.module, image) if name is None else named_layer(self.module, name, image)
            self._example = None
        return self._layer

    @contextmanager
    def session(self) -> Iterator[None]:
        """Set up the context in which a method runs: see :func:`etl.explain.shadow.clean_torch`."""
        with clean_torch(self.device):
            yield

    @property
    def nbytes(self) -> int:
        """Memory of parameters and buffers, in bytes."""
        return sum(t.numel() * t.element_size() for t in (*self.module.parameters(), *self.module.buffers()))

    def images(self, images: Tensor) -> Tensor:
        """Bring images to the model's device, type and memory format, as tensors that autograd accepts."""
        moved = images.detach().to(self.device, self.dtype, memory_format=self._memory_format)
        return moved.clone() if moved.is_inference() else moved

    def scores(self, images: Tensor) -> Tensor:
        """Class scores (B, N) without a graph."""
        with torch.no_grad():
            return self.differentiable_scores(images)

    def differentiable_scores(self, images: Tensor) -> Tensor:
        """Class scores (B, N) with the graph back to the images, for methods that optimise the input."""
        self.forwards += len(images)
        if images.requires_grad and torch.is_grad_enabled():
            self.backwards += len(images)
        return self._run(images)

    def cut(self, images: Tensor) -> Cut:
        """Run one forward pass and cut its graph at the layer.

        Nothing is recorded up to the layer because no parameter requires a gradient; there the activation is replaced
        by a fresh leaf, so a backward pass costs only the head.

        Parameters
        ----------
        images
            (B, 3, H, W) as returned by :meth:`images`.

        Returns
        -------
        Cut

        Raises
        ------
        UserError
            If the layer did not run.
        """
        layer, calls = self.layer, 0
        nodes: list[Tensor] = []

        def replace(_module: nn.Module, _args: object, output: Tensor) -> Tensor | None:
            nonlocal calls
            calls += 1
            if calls != layer.call:
                return None
            # A clone, because an in-place activation function may follow, which a leaf forbids. Afterwards the clone
            # *is* the activated map, and its gradient the one with respect to that map.
            nodes.append(output.detach().requires_grad_().clone())
            return nodes[-1]

        handle = self.module.get_submodule(layer.name).register_forward_hook(replace)
        try:
            with torch.enable_grad():
                logits = self._run(images)
        finally:
            handle.remove()
        self.forwards += len(images)
        self.backwards += len(images)
        if not nodes:
            raise UserError(f"Layer {str(layer)!r} did not run in the model's forward pass; choose another layer.")
        return Cut(layer, nodes[0], logits)

    def _run(self, images: Tensor) -> Tensor:
        # A copy, because a model that normalises its input in place would change it for the next pass.
        logits = logits_of(self.module(images.clone()), len(images))
        return logits if self._outputs is None else logits.index_select(1, self._outputs)
