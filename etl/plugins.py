"""The plug-in door: models, data sets, methods and views come through entry points, the built-in ones too.

A package adds to vacpanel by naming a class under one of the groups in its ``pyproject.toml``::

    [project.entry-points."vacpanel.models"]
    mylab = "mylab.vacpanel:MyLabModels"
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from warehouse.errors import UserError

MODELS = "vacpanel.models"
"""Classes that follow :class:`etl.models.ModelProvider`."""

DATASETS = "vacpanel.datasets"
"""Classes that follow :class:`etl.datasets.DatasetProvider`."""

METHODS = "vacpanel.methods"
"""Classes of visual explanation methods."""

VIEWS = "vacpanel.views"
"""Classes of the dashboard's views."""

TORCH = ("torch", "torchvision")
INSTALL_TORCH = f"pip install {' '.join(TORCH)}"


class PluginError(UserError):
    """A plug-in does not exist, cannot be imported, or shares its name with another one."""


@dataclass(frozen=True)
class Plugin:
    """One named plug-in, imported only when it is loaded.

    Attributes
    ----------
    group
        Entry-point group.
    name
        Name within the group.
    candidates
        The entry points of that name; more than one is an error that only :meth:`load` raises, so that the
        other plug-ins stay usable.
    """

    group: str
    name: str
    candidates: tuple[EntryPoint, ...]

    @property
    def origin(self) -> str:
        """The distributions that offer the plug-in."""
        return " and ".join(sorted({_distribution(c) for c in self.candidates}))

    def load(self) -> Any:
        """Import the plug-in.

        Returns
        -------
        Any
            What the entry point names, usually a class.

        Raises
        ------
        PluginError
            If two packages offer the name, or the import fails.
        """
        if len(self.candidates) > 1:
            raise PluginError(
                f"The plug-in {self.name!r} ({self.group}) is offered more than once, by {self.origin}; "
                f"uninstall or rename all but one."
            )
        entry = self.candidates[0]
        try:
            return entry.load()
        except Exception as error:
            if isinstance(error, ModuleNotFoundError) and error.name in TORCH:
                raise PluginError(f"The plug-in {self.name!r} needs PyTorch; run: {INSTALL_TORCH}") from error
            raise PluginError(
                f"The plug-in {self.name!r} ({self.group}, {entry.value} from {self.origin}) cannot be loaded: "
                f"{type(error).__name__}: {error}"
            ) from error


@cache
def plugins(group: str) -> dict[str, Plugin]:
    """List the plug-ins of a group without importing any.

    Parameters
    ----------
    group
        One of :data:`MODELS`, :data:`DATASETS`, :data:`METHODS`, :data:`VIEWS`.

    Returns
    -------
    dict of str to Plugin
        Sorted by name. Cached; call ``plugins.cache_clear()`` after installing something in a running process.
    """
    found: dict[str, dict[str, EntryPoint]] = {}
    for entry in entry_points(group=group):
        # The same distribution can be seen twice on sys.path; the same target is not a conflict.
        found.setdefault(entry.name, {}).setdefault(entry.value, entry)
    return {name: Plugin(group, name, tuple(found[name].values())) for name in sorted(found)}


def load(group: str, name: str) -> Any:
    """Import one plug-in by name.

    Raises
    ------
    PluginError
        If there is none of that name, or it cannot be loaded.
    """
    known = plugins(group)
    if name not in known:
        raise PluginError(f"There is no plug-in {name!r} among {group}; there are: {', '.join(known) or 'none'}.")
    return known[name].load()


def _distribution(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.value
