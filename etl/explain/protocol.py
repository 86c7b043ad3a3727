"""What a visual explanation method is: the protocol behind the entry-point group ``vacpanel.methods``."""

from __future__ import annotations

import dataclasses
import difflib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from warehouse.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from etl.explain.prepared import PreparedModel


class Cancelled(Exception):  # noqa: N818 - not an error: somebody changed their mind
    """Raised inside a method when its request was withdrawn."""


@dataclass(frozen=True)
class Context:
    """How a method should run; nothing here may change its result.

    Parameters
    ----------
    chunk
        Most images in one pass; None leaves it to the method and the model (:meth:`PreparedModel.pass_size`).
    memory
        Bytes that the tensors of one pass may take, besides the model's weights; None for no limit. One image a pass is
        always allowed.
    cancelled
        Polled between passes; true stops the work.
    progress
        Called between passes with the fraction done, in [0, 1], and the raw maps so far, shaped as those of the result,
        or None where there is nothing worth showing yet.
    """

    chunk: int | None = None
    memory: int | None = None
    cancelled: Callable[[], bool] = lambda: False
    progress: Callable[[float, Tensor | None], None] = lambda _fraction, _maps: None

    def step(self, fraction: float, maps: Tensor | None = None) -> None:
        """Report progress and stop if the request was withdrawn.

        Raises
        ------
        Cancelled
            If nobody waits for the result any more.
        """
        if self.cancelled():
            raise Cancelled
        self.progress(fraction, maps)

    def part(self, index: int, count: int) -> Context:
        """Make the context of one of several equal parts of the work, whose maps so far concern nobody."""

        def progress(fraction: float, _maps: Tensor | None) -> None:
            self.progress((index + fraction) / count, None)

        return dataclasses.replace(self, progress=progress)


@dataclass(frozen=True)
class Attribution:
    """What a method found.

    Parameters
    ----------
    maps
        (B, h, w) float32, raw: any scale, low resolution. :func:`etl.explain.postprocess.normalise` makes attention
        maps. (B, K, h, w) from :func:`etl.explain.classes.attribute_classes`.
    logits
        (B, N) class scores of the images; None from a method that was told the classes and needs no pass of the images
        as they are.
    targets
        (B,) int64, the class explained for each image; (B, K) when several were asked.
    flags
        Per image, words that qualify the map, such as ``"stopped early"``; empty for a plain exact result.
    """

    maps: Tensor
    logits: Tensor | None
    targets: Tensor
    flags: tuple[tuple[str, ...], ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.flags:
            object.__setattr__(self, "flags", ((),) * len(self.maps))


@dataclass(frozen=True)
class NoParameters:
    """Parameters of a method that has none."""


@runtime_checkable
class Method(Protocol):
    """A visual explanation method; one stateless object serves all threads."""

    name: ClassVar[str]
    """As in requests and on the command line: ``"grad-cam"``; the entry point has this name, too."""

    title: ClassVar[str]
    """As printed: ``"Grad-CAM"``."""

    description: ClassVar[str]
    """One or two sentences for people who are new to machine learning."""

    paper: ClassVar[str]
    """Citation of the paper that is followed."""

    version: ClassVar[int]
    """Raised whenever results change; part of the key of stored maps."""

    Parameters: ClassVar[type[Any]]
    """A frozen dataclass, JSON-able, whose defaults are the published ones; it raises :class:`UserError` from
    ``__post_init__`` for values out of range."""

    def cost(self, parameters: Any, channels: int) -> float:
        """Forward passes per image, a backward pass through the whole model counting one and a half.

        Parameters
        ----------
        parameters
            An instance of ``Parameters``.
        channels
            C of the explained layer.
        """
        ...

    def attribute(
        self, model: PreparedModel, images: Tensor, targets: Tensor | None, parameters: Any, context: Context
    ) -> Attribution:
        """Explain a batch; called inside ``model.session()``.

        Parameters
        ----------
        model
            The classifier.
        images
            (B, 3, H, W) as from ``model.images``, normalised for the model.
        targets
            (B,) int64 class indices; None for the predicted classes.
        parameters
            An instance of ``Parameters``.
        context
            Chunk size, cancellation, progress.
        """
        ...


def parameters_of(method: Method, values: Mapping[str, Any]) -> Any:
    """Make a method's parameters from names and values.

    Parameters
    ----------
    method
        Whose parameters.
    values
        Those that differ from the defaults.

    Returns
    -------
    object
        An instance of ``method.Parameters``.

    Raises
    ------
    UserError
        If a name is unknown or a value out of range.
    """
    known = [f.name for f in dataclasses.fields(method.Parameters)]
    for name in values:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(known) or 'none'}."
            raise UserError(f"{method.title} has no parameter {name!r}; {hint}")
    try:
        return method.Parameters(**values)
    except TypeError as error:
        raise UserError(f"{method.title} cannot use these parameters: {error}.") from error


def canonical(parameters: Any) -> str:
    """JSON of a method's parameters, sorted by name: equal parameters give equal text."""
    return json.dumps(dataclasses.asdict(parameters), sort_keys=True, separators=(",", ":"), allow_nan=False)
