"""A classifier made ready for explanation: frozen, cut at one layer, its passes counted."""

from __future__ import annotations

import copy
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from etl.explain.connected import quicken_connections
from etl.explain.cut import Cut
from etl.explain.folding import fold_batch_norms
from etl.explain.footprint import Footprint, footprint
from etl.explain.layers import Layer, find_layer, named_layer
from etl.explain.logits import logits_of
from etl.explain.merging import Merging, can_merge, mergeable
from etl.explain.overwriting import overwritable, overwriting
from etl.explain.shadow import clean_torch, placement, shadow
from etl.explain.stem import quicken_stems
from warehouse.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from etl.explain.graph import Flattened
    from etl.explain.masked import MaskedImages
    from etl.explain.merging import Plan
    from etl.explain.protocol import Context

_MULTIPLY_ADDS = 40e9
"""Of one pass on a CPU: some tenths of a second, so that cancelling is quick; larger batches are no faster there."""

_NEAR = 88 << 20
"""Bytes that the tensors of a pass take at most at one moment, on a CPU, else it slows down: an image costs
EfficientNet-Lite0 0.41 of a forward pass by four, 0.39 by six, 0.52 by twelve and 0.60 by 24. With a graph most of
them rest."""

_USES = 256
"""Multiplications for each weight that a pass on a CPU has at least, whatever else it should keep to: fewer take less
time than reading the weights. An image costs AlexNet, most of which are fully connected layers, 12.5 ms by six, 8.7 by
24; convolutions use a weight more often than that for one image."""

_PLANES = 12
"""Copies of an image's pixels, in one colour, that a method makes around a pass, for masks and noise."""


class PreparedModel:
    """A frozen copy of a classifier with the layer to explain; the user's module is never touched.

    Not thread-safe: one thread uses one prepared model at a time.

    Parameters
    ----------
    module
        Any ``torch.nn.Module`` that maps images (B, 3, H, W) to class scores (B, N).
    example
        Images that the model accepts, (B, 3, H, W); the first serves to find the layer and to fold. May be None for a
        ready ``layer``, or a method that needs none, if nothing is to be folded.
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
        Fold batch normalisations into convolutions (:func:`etl.explain.folding.fold_batch_norms`), let activation
        functions write over what they read (:mod:`etl.explain.overwriting`), and with ``channels_last`` merge
        convolutions with what follows (:mod:`etl.explain.merging`); worth four passes for a model that is kept.
        Changes class scores by some 1e-5 of their spread.

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
        quicken_stems(self.module)
        quicken_connections(self.module)
        if device is not None:
            self.module.to(device)
        self.device, self.dtype = placement(self.module)
        self._outputs = None if outputs is None else torch.tensor(outputs, device=self.device)
        self._memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self._overwriting: list[nn.Module] = []
        self._plan: Plan | None = None
        with self.session(restore_random=False):
            if fold:
                if example is None:
                    raise ValueError("folding batch normalisations needs an example image")
                self.forwards += 2
                image = self.images(example[:1])
                fold_batch_norms(self.module, image)
                self._overwriting = overwritable(self.module, image)
            if channels_last:
                self.module.to(memory_format=torch.channels_last)
            if fold and channels_last and can_merge(self.module, image):
                self.forwards += 2
                with overwriting(self._overwriting):
                    self._plan = mergeable(self.module, image)
        self._merging: dict[torch.dtype, Merging] = {}
        self._lowered: dict[torch.dtype, nn.Module] = {}
        self._summed: dict[int, Tensor] = {}
        self._footprints: dict[tuple[torch.Size, bool], Footprint] = {}
        self._weights = sum(parameter.numel() for parameter in self.module.parameters())
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
            with self.session(restore_random=False):
                image = self.images(self._example)
                self.forwards += 1
                name = self._layer
                self._layer = find_layer(self.module, image) if name is None else named_layer(self.module, name, image)
            self._example = None
        return self._layer

    @contextmanager
    def session(self, *, restore_random: bool = True) -> Iterator[None]:
        """Set up the context in which a method runs: see :func:`etl.explain.shadow.clean_torch`."""
        with clean_torch(self.device, restore_random=restore_random):
            yield

    @property
    def nbytes(self) -> int:
        """Memory of parameters and buffers, in bytes; of copies in lower precision, too."""
        tensors = {t for m in (self.module, *self._lowered.values()) for t in (*m.parameters(), *m.buffers())}
        tensors.update(self._summed.values())
        return sum(t.nbytes for t in tensors) + sum(merging.nbytes for merging in self._merging.values())

    def pass_size(self, images: Tensor, total: int, context: Context, most: int, *, graph: bool = False) -> int:
        """Choose how many images go into one pass; the same for the same model and images.

        Parameters
        ----------
        images
            (B, 3, H, W), of the size that the passes will have.
        total
            Images that are to go through the model.
        context
            Whose ``chunk`` decides, if given, and whose ``memory`` is obeyed.
        most
            Images of a pass from which the method gains nothing more.
        graph
            Whether the graph back to the images is recorded.

        Returns
        -------
        int
            At least 1.
        """
        if context.chunk is not None:
            return context.chunk
        size = min(total, most)
        if context.memory is None and (size <= 2 or self.device.type != "cpu"):
            return max(1, size)
        cost = self._footprint(images[:1], graph)
        if self.device.type == "cpu":
            size = min(size, int(_MULTIPLY_ADDS // max(1, cost.multiply_adds)))
            if not graph:
                size = min(size, _NEAR // max(1, cost.nbytes))
                size = max(size, min(total, -(-_USES * self._weights // max(1, cost.multiply_adds))))
        if context.memory is not None:
            planes = images.shape[2] * images.shape[3] * images.element_size()
            size = min(size, context.memory // (cost.nbytes + _PLANES * planes))
        passes = max(1, -(-total // max(1, size)))
        return max(1, -(-total // passes))  # eight by four and four cost less than by six and two

    def _footprint(self, image: Tensor, graph: bool) -> Footprint:
        key = (image.shape, graph)
        if key not in self._footprints:

            def run() -> None:
                if graph:
                    start = image.detach().requires_grad_()
                    torch.autograd.grad(self.differentiable_scores(start).sum(), start)
                else:
                    with torch.no_grad(), overwriting(self._overwriting):  # unmerged, so that it can be counted
                        self.differentiable_scores(image)

            self._footprints[key] = footprint(run)
        return self._footprints[key]

    def images(self, images: Tensor) -> Tensor:
        """Bring images to the model's device, type and memory format, as tensors that autograd accepts."""
        moved = images.detach().to(self.device, self.dtype, memory_format=self._memory_format)
        return moved.clone() if moved.is_inference() else moved

    def scores(self, images: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Class scores (B, N) without a graph.

        Parameters
        ----------
        images
            (B, 3, H, W) as returned by :meth:`images`.
        dtype
            Compute in this lower precision, with a copy of the model that is made once; None in the model's own.
        """
        self.forwards += len(images)
        dtype = dtype or self.dtype
        with torch.no_grad(), overwriting(self._overwriting):
            module = self._in(dtype)
            with nullcontext() if self._plan is None else self._merging_in(dtype, self._plan).doing():
                return self._run(images.to(dtype), module).to(self.dtype)

    def masked_scores(self, masked: MaskedImages, masks: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Class scores (B, N) of an image under masks, without a graph: see :meth:`scores`.

        Parameters
        ----------
        masked
            Of an image as returned by :meth:`images`.
        masks
            (B, h, w).
        dtype
            As for :meth:`scores`.
        """
        if self._plan is None or self._plan.first is None:
            return self.scores(masked.images(masks), dtype)
        self.forwards += len(masks)
        dtype = dtype or self.dtype
        with torch.no_grad(), overwriting(self._overwriting):
            module = self._in(dtype)
            with self._merging_in(dtype, self._plan).doing(masked, masks) as images:
                logits = self._chosen(logits_of(module(images), len(masks)))
            return logits.to(self.dtype, copy=True)  # the memory of the first results serves again

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
        layer = self.layer
        nodes: list[Tensor] = []

        with ExitStack() as pass_, ExitStack() as trunk:
            pass_.enter_context(torch.enable_grad())
            trunk.enter_context(overwriting(self._overwriting))
            if self._plan is not None:
                trunk.callback(pass_.enter_context(self._merging_in(self.dtype, self._plan).before_graph()))

            def leaf(activation: Tensor) -> Tensor:
                # A clone, because an in-place activation function may follow, which a leaf forbids. Afterwards the
                # clone *is* the activated map, and its gradient the one with respect to that map.
                nodes.append(activation.detach().requires_grad_().clone())
                trunk.close()
                return nodes[-1]

            pass_.enter_context(layer.replaced(self.module, leaf))
            logits = self._run(images)
        self.forwards += len(images)
        self.backwards += len(images)
        if not nodes:
            raise UserError(f"Layer {str(layer)!r} did not run in the model's forward pass; choose another layer.")
        return Cut(layer, nodes[0], logits, self._sum_weights)

    def _sum_weights(self, flattened: Flattened) -> Tensor:
        address = flattened.weight.data_ptr()
        if address not in self._summed:
            summed = flattened.summed()
            if address not in {parameter.data_ptr() for parameter in self.module.parameters()}:
                return summed  # computed in the pass, perhaps from the image
            self._summed[address] = summed
        return self._summed[address]

    def _merging_in(self, dtype: torch.dtype, plan: Plan) -> Merging:
        if dtype not in self._merging:
            self._merging[dtype] = Merging(self._in(dtype), plan)
        return self._merging[dtype]

    def _in(self, dtype: torch.dtype) -> nn.Module:
        if dtype == self.dtype:
            return self.module
        if dtype not in self._lowered:
            # Made while activation functions overwrite, and so for good: this copy never records a graph.
            self._lowered[dtype] = copy.deepcopy(self.module).to(dtype)
        return self._lowered[dtype]

    def _run(self, images: Tensor, module: nn.Module | None = None) -> Tensor:
        # A copy, because a model that normalises its input in place would change it for the next pass.
        return self._chosen(
            logits_of((module or self.module)(images.clone(memory_format=self._memory_format)), len(images))
        )

    def _chosen(self, logits: Tensor) -> Tensor:
        return logits if self._outputs is None else logits.index_select(1, self._outputs)
