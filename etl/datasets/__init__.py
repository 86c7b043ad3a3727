"""Where labelled images come from: data set providers.

A provider is a class under the entry-point group ``vacpanel.datasets`` that follows :class:`DatasetProvider`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from etl import plugins
from warehouse.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    import pyarrow as pa

    from etl.classes import ClassTable

DEFAULT_PROVIDER = "imagefolder"
"""Provider of a plain folder."""


class DatasetError(UserError):
    """A data set cannot be named, found or understood; the message says why."""


class LabelledImage(NamedTuple):
    """One image of a data set."""

    path: str
    """Relative to the data set's root, with forward slashes."""
    class_id: int
    """Its true class."""


@runtime_checkable
class Dataset(Protocol):
    """Labelled image files under one folder."""

    @property
    def root(self) -> Path:
        """The image folder, absolute."""

    @property
    def classes(self) -> ClassTable:
        """The class table."""

    def images(self) -> Iterator[LabelledImage]:
        """All images, sorted by path; each path once."""

    def objects(self) -> pa.Table | None:
        """Where the object is in each image, if that is known.

        Columns path (string), left, top, right, bottom (int32; pixels, right and bottom exclusive) and mask (binary,
        a 1-bit PNG of the image's size); at most one row per image.
        """


@dataclass(frozen=True)
class OpenOptions:
    """What a provider may need to know.

    Attributes
    ----------
    classes
        The class table that must be used (of ``--classes``, or of the warehouse), or None.
    model_classes
        The class tables of the models of this run; calling it may load models, so call it only when needed.
    progress
        Called with a sentence about what takes long, and the fraction done.
    """

    classes: ClassTable | None = None
    model_classes: Callable[[], Iterable[ClassTable]] = tuple
    progress: Callable[[str, float], None] = field(default=lambda _message, _fraction: None)


@runtime_checkable
class DatasetProvider(Protocol):
    """A kind of data set. Constructed without arguments, cheaply."""

    name: str
    """Prefix of the data set names, equal to the entry point's name."""

    description: str
    """One sentence for lists."""

    def open(self, argument: str, options: OpenOptions) -> Dataset:
        """Open a data set.

        Parameters
        ----------
        argument
            What follows ``provider:`` in the name.
        options
            See :class:`OpenOptions`.

        Raises
        ------
        warehouse.errors.UserError
            If there is no such data set, or it does not fit the class table.
        """


def open_dataset(images: str | Path, options: OpenOptions | None = None) -> Dataset:
    """Open a data set by name.

    Parameters
    ----------
    images
        A folder of class folders, or ``"provider:argument"``.
    options
        See :class:`OpenOptions`.

    Raises
    ------
    warehouse.errors.UserError
        If there is no such data set, or it does not fit the class table.
    """
    name, colon, argument = str(images).partition(":")
    known = plugins.plugins(plugins.DATASETS)
    # A folder may have a colon in its name, or a drive letter before one.
    if not colon or name not in known or os.path.exists(images):  # noqa: PTH110 - Path.exists may raise
        name, argument = DEFAULT_PROVIDER, str(images)
    if not argument:
        raise DatasetError(f"{str(images)!r} names no data set; write a folder, or provider:argument.")
    provider: DatasetProvider = plugins.load(plugins.DATASETS, name)()
    return provider.open(argument, options or OpenOptions())
