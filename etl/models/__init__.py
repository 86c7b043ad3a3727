"""Where classifiers come from: model providers, and names such as ``torchvision:resnet50``.

A provider is a class under the entry-point group ``vacpanel.models`` that follows :class:`ModelProvider`.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from etl import plugins
from warehouse.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from etl.preprocess import Preprocessing

DEFAULT_PROVIDER = "torchvision"
"""Provider of a bare name."""


class ModelError(UserError):
    """A model cannot be named, loaded or run; the message says why."""


@dataclass(frozen=True)
class LoadedModel:
    """A classifier, ready to run.

    Attributes
    ----------
    module
        In evaluation mode, float32, on the CPU. Takes normalised images (B, 3, H, W), returns logits (B, outputs).
    preprocess
        The model's own preprocessing.
    outputs
        Number of classes.
    family
        Kind of architecture for grouping in views, such as ``"ResNet"``.
    class_names
        Name of each output, or None if unknown.
    class_wnids
        WordNet id of each output, or None if unknown.
    """

    module: nn.Module
    preprocess: Preprocessing
    outputs: int
    family: str
    class_names: tuple[str, ...] | None = None
    class_wnids: tuple[str, ...] | None = None


@runtime_checkable
class ModelProvider(Protocol):
    """A source of models. Constructed without arguments, cheaply: heavy imports belong into :meth:`load`."""

    name: str
    """Prefix of the model names, equal to the entry point's name."""

    description: str
    """One sentence for lists: what the models are and where their weights come from."""

    def available(self) -> str | None:
        """None if models can be loaded; else the reason, with what to install."""

    def names(self) -> Sequence[str]:
        """Names that can be loaded; empty if there is no finite list."""

    def load(self, name: str) -> LoadedModel:
        """Load a model.

        Raises
        ------
        ModelError
            If there is no such model, or its weights cannot be had.
        """

    def fingerprint(self, name: str) -> str | None:
        """Identify weights and preprocessing without loading the model.

        Equal if and only if the model computes the same; None if that cannot be known without loading.
        """


class ResolvedModel(NamedTuple):
    """A model name and who provides it."""

    provider: ModelProvider
    """The provider."""
    name: str
    """The name within the provider, with its checkpoint if it has one."""

    @property
    def canonical(self) -> str:
        """``provider:name``, the model's name everywhere."""
        return f"{self.provider.name}:{self.name}"

    @property
    def label(self) -> str:
        """Short name for plots."""
        return label(self.name)

    def load(self) -> LoadedModel:
        """Load the model; see :meth:`ModelProvider.load`."""
        return self.provider.load(self.name)

    def fingerprint(self) -> str | None:
        """See :meth:`ModelProvider.fingerprint`."""
        return self.provider.fingerprint(self.name)


@cache
def provider(name: str) -> ModelProvider:
    """Return the provider of a name; constructed once.

    Raises
    ------
    ModelError
        If there is no such provider.
    warehouse.errors.UserError
        If its plug-in cannot be imported.
    """
    known = plugins.plugins(plugins.MODELS)
    if name not in known:
        raise ModelError(
            f"There is no model provider {name!r}{_did_you_mean(name, known)}; there are: {', '.join(known)}."
        )
    found: ModelProvider = known[name].load()()
    return found


def resolve(model: str) -> ResolvedModel:
    """Find a model by name, without loading it.

    Parameters
    ----------
    model
        ``"provider:name"``, optionally followed by ``"@checkpoint"`` where the provider takes one; a bare name
        is torchvision's.

    Returns
    -------
    ResolvedModel
        Its ``canonical`` name is what the warehouse calls the model.

    Raises
    ------
    ModelError
        If the provider or the name is unknown, or the provider's packages are not installed.
    """
    model = model.strip()
    # A colon in a checkpoint's path does not make a provider.
    prefix, colon, name = model.partition(":")
    if not colon or "@" in prefix:
        prefix, name = DEFAULT_PROVIDER, model
    if not name:
        raise ModelError(f"{model!r} does not name a model; write provider:name, such as torchvision:resnet50.")
    source = provider(prefix)
    reason = source.available()
    if reason is not None:
        raise ModelError(f"{prefix}:{name} cannot be used: {reason}")
    names = source.names()
    base = name.partition("@")[0]
    if names and base not in names:
        raise ModelError(f"{prefix} has no model {base!r}{_did_you_mean(base, names)}; see: vacpanel models")
    return ResolvedModel(source, name)


def label(name: str) -> str:
    """Shorten a name for plots: without the provider, the folder of a checkpoint and the module of a factory.

    Examples
    --------
    >>> label("resnet18@runs/best.pth"), label("mylab.nets:make_net")
    ('resnet18@best', 'make_net')
    """
    base, at, checkpoint = name.partition("@")
    base = base.rpartition(":")[2]
    if not at:
        return base
    file = checkpoint.replace("\\", "/").rpartition("/")[2]
    return f"{base}@{file.rpartition('.')[0] or file}"


def _did_you_mean(name: str, names: Sequence[str] | dict[str, plugins.Plugin]) -> str:
    close = difflib.get_close_matches(name, list(names), n=3, cutoff=0.6)
    return f" (did you mean {', '.join(close)}?)" if close else ""
