"""A request with everything looked up that its result depends on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from etl.explain import load_method, parameters_of
from etl.explain.protocol import Method, canonical
from etl.images import read_image
from etl.models import DEFAULT_PROVIDER
from warehouse.errors import UserError
from warehouse.maps import digest
from warehouse.rows import ImageRow

if TYPE_CHECKING:
    from pathlib import Path

    from etl.classes import ClassTable
    from etl.explain.catalogue import Known
    from etl.explain.requests import Request
    from warehouse.rows import ModelRow

ENGINE = 2
"""Raised when the maps of all methods change; part of the key of every map."""

NO_IMAGE = -1
"""The ``image_id`` of a file that is not in the warehouse."""


@dataclass(frozen=True)
class Task:
    """One map to compute, or to find in the store; complete in itself, so that it can be computed anywhere.

    Parameters
    ----------
    digest
        Key of the map in the store.
    model, image, classes
        Rows and class table of the warehouse.
    method
        The explanation method.
    parameters
        All its parameters, an instance of ``method.Parameters``.
    target
        Class id; None for whatever the model will predict.
    prediction
        Class id and confidence that the model is known to predict, if it is.
    kept
        Whether the result belongs into the store.
    """

    digest: str
    model: ModelRow
    image: ImageRow
    classes: ClassTable
    method: Method
    parameters: Any
    target: int | None
    prediction: tuple[int, float] | None = None
    kept: bool = True

    @property
    def key(self) -> str:
        """Equal for equal requests; two images may have the same pixels and thereby the same map."""
        return f"{self.digest} {self.image.image_id}"

    @property
    def resource(self) -> str:
        """The model, which has to be loaded first."""
        return self.model.key

    @property
    def group(self) -> tuple[str, str, bool]:
        """Equal for tasks of one model whose maps can be computed in one batch."""
        return self.method.name, canonical(self.parameters), self.target is None


def look_up(known: Known, request: Request) -> Task:
    """Turn a request into a task; costs a few queries, or none, and no forward pass.

    Parameters
    ----------
    known
        Knows the model, the image and the model's prediction.
    request
        What is asked.

    Returns
    -------
    Task
        Tasks of equal digest have equal maps. Weights, preprocessing, precision and class table enter through the key
        of the model, the pixels through the hash of the file.

    Raises
    ------
    UserError
        If the warehouse has no such model, image or class, or there is no such method or parameter.
    """
    name = canonical_name(request.model)
    return _task(known, request, known.model(name), known.image(request.image_id))


def file_task(known: Known, file: Path, request: Request) -> Task:
    """Turn a request about an image file that is not in the warehouse into a task.

    Parameters
    ----------
    known
        Knows the model.
    file
        The image.
    request
        What is asked; its ``image_id`` does not count.

    Raises
    ------
    UserError
        If the file cannot be read, or the request cannot be answered for an image whose class nobody knows.
    """
    if request.target == "true":
        raise UserError(f"The true class of {file.name} is not known, since it is not in the warehouse; name a class.")
    name = canonical_name(request.model)
    image = ImageRow(NO_IMAGE, str(file.parent), file.name, -1, "", "", None, None, read_image(file).sha256)
    return replace(_task(known, request, known.model(name), image), kept=False)


def _task(known: Known, request: Request, model: ModelRow, image: ImageRow) -> Task:
    prediction = None if image.image_id == NO_IMAGE else known.prediction(model.model, image.image_id)
    target = _target(known, request, image, prediction)
    method = load_method(request.method)
    parameters = parameters_of(method, request.parameters)
    key = digest(
        engine=ENGINE,
        model=model.key,
        image=image.sha256 or str(image.file),
        method=method.name,
        version=method.version,
        target=target,
        parameters=canonical(parameters),
    )
    return Task(key, model, image, known.classes, method, parameters, target, prediction)


def canonical_name(model: str) -> str:
    """``provider:name``; a bare name is torchvision's."""
    return model if ":" in model else f"{DEFAULT_PROVIDER}:{model}"


def _target(known: Known, request: Request, image: ImageRow, prediction: tuple[int, float] | None) -> int | None:
    if request.target == "true":
        return image.class_id
    if request.target == "predicted":
        # What the tables say about the image, so that map and table never speak of different classes.
        return None if prediction is None else prediction[0]
    if isinstance(request.target, bool) or not isinstance(request.target, (int, np.integer)):
        raise UserError(f"A target is 'predicted', 'true' or a class id, not {request.target!r}.")
    classes = len(known.classes)
    if not 0 <= request.target < classes:
        raise UserError(f"There is no class {request.target}; this warehouse has classes 0 to {classes - 1}.")
    return int(request.target)
