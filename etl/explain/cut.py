"""A forward pass that can be differentiated from the explained layer on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge
from torch.nn import functional as F

from etl.explain.chunks import is_out_of_memory
from etl.explain.graph import Flattened, flattened_map, is_affine, last_layer
from warehouse.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from etl.explain.layers import Layer


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
    sum_weights
        How to add up the weights of a layer that reads a flattened map; the model keeps such sums.
    """

    layer: Layer
    node: Tensor
    logits: Tensor
    sum_weights: Callable[[Flattened], Tensor] = Flattened.summed

    @property
    def activations(self) -> Tensor:
        """A of the papers, (B, C, h, w), without graph."""
        return self.layer.maps(self.node.detach())

    @property
    def has_affine_head(self) -> bool:
        """Whether the class scores are an affine function of the activations, so that gradients do not depend on them.

        Proved from the recorded graph: every operation between scores and activations is linear in the one argument
        that depends on the activations. False where that cannot be seen.
        """
        return is_affine(self.logits, self.node)

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
        return self.layer.maps(self._differentiate_all([targets], self.node)[0])

    def gradients_of(self, targets: Tensor) -> list[Tensor]:
        """Differentiate the scores of several classes of each image, in one backward pass.

        Parameters
        ----------
        targets
            (B, K) int64 class indices; memory is needed for the gradients of all.

        Returns
        -------
        list of torch.Tensor
            K gradients as from :meth:`gradients`.
        """
        columns = targets.unbind(dim=1)
        return [self.layer.maps(gradient) for gradient in self._differentiate_all(columns, self.node)]

    def mean_gradients_of(self, targets: Tensor) -> list[Tensor]:
        """Differentiate as :meth:`gradients_of`, and average over positions.

        Where the map is flattened into a fully connected layer, as in AlexNet and VGG, the average is found without
        the gradient of every position, which would read that layer's matrix, most of the model's weights, once more
        (:func:`etl.explain.graph.flattened_map`).

        Parameters
        ----------
        targets
            (B, K) int64 class indices.

        Returns
        -------
        list of torch.Tensor
            K averages, (B, C, 1, 1).
        """
        flattened = flattened_map(self.logits, self.node)
        if flattened is None or self.layer.maps(self.node) is not self.node:
            return [gradients.mean(dim=(2, 3), keepdim=True) for gradients in self.gradients_of(targets)]
        found = self._differentiate_all(targets.unbind(dim=1), flattened.output)
        positions = self.node.shape[2] * self.node.shape[3]
        means = found.flatten(0, 1) @ self.sum_weights(flattened) / positions
        return list(means.view(*found.shape[:2], -1, 1, 1))

    def _differentiate_all(self, columns: Sequence[Tensor], start: Tensor | GradientEdge) -> Tensor:
        """Gradients of each column's classes, (K, B, ...), in one pass if the operations can be batched."""
        outputs, chosen = self._chosen(torch.stack(list(columns)), start)

        def differentiate(one: Tensor) -> Tensor:
            return torch.autograd.grad(outputs, start, one, retain_graph=True)[0]

        if len(columns) > 1:
            try:
                # Not by `is_grads_batched`, which knows nothing of functions of one's own, as in `connected`.
                gradients = torch.func.vmap(differentiate)(chosen)
            except RuntimeError as error:
                if is_out_of_memory(error):
                    raise
            else:
                return gradients
        known = []
        for one in chosen if self.logits.requires_grad else ():
            (gradient,) = torch.autograd.grad(outputs, start, one, retain_graph=True, allow_unused=True)
            known += [] if gradient is None else [gradient]
        if len(known) < len(columns):
            raise UserError(f"The class scores do not depend on layer {str(self.layer)!r}; choose a later layer.")
        return torch.stack(known)

    def _chosen(self, targets: Tensor, start: Tensor | GradientEdge) -> tuple[Tensor | GradientEdge, Tensor]:
        """Say what to differentiate for classes (K, B), and what its own gradients are, (K, B, ...)."""
        last = last_layer(self.logits)
        if last is None or (isinstance(start, GradientEdge) and start.node is self.logits.grad_fn):
            return self.logits, F.one_hot(targets, self.logits.shape[1]).to(self.logits)
        return last.input, last.weight[targets]
