"""What is asked of the explanation service, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch

from etl.explain.postprocess import normalise

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from warehouse.maps import StoredMap

Target = Literal["predicted", "true"] | int


@dataclass(frozen=True)
class Request:
    """One explanation that somebody wants to see.

    Parameters
    ----------
    model
        Canonical name, ``"provider:name"``, of a model in the warehouse.
    image_id
        An image of the warehouse.
    method
        Name of an explanation method.
    target
        ``"predicted"``: the class that the model predicts according to the warehouse; ``"true"``: the class of the
        image; or a class id.
    parameters
        Parameters of the method that differ from the published ones.
    """

    model: str
    image_id: int
    method: str = "grad-cam"
    target: Target = "predicted"
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Explanation:
    """One explanation map and the numbers around it.

    Parameters
    ----------
    digest
        Key in the store of maps.
    model, image_id, method
        What was asked.
    parameters
        All parameters of the method as canonical JSON.
    target_class_id
        The class that is explained.
    predicted_class_id, confidence
        The model's prediction for the image, and its softmax probability.
    map
        (h, w) float32 in [0, 1], at the method's own low resolution; :meth:`attention` enlarges it.
    measures
        Numbers by name, see :data:`etl.explain.measures.MEASURES`; computed at the model's input resolution.
    flags
        What is wrong with the map, such as ``"constant map"``; usually empty.
    seconds
        How long the computation took, when it was made.
    cached
        Whether it came from the store, without a forward pass.
    """

    digest: str
    model: str
    image_id: int
    method: str
    parameters: str
    target_class_id: int
    predicted_class_id: int
    confidence: float
    map: NDArray[np.float32]
    measures: Mapping[str, float]
    flags: tuple[str, ...]
    seconds: float
    cached: bool

    @property
    def roi_area(self) -> float:
        """Share of pixels with attention of at least 0.5."""
        return self.measures["roi_area"]

    def attention(self, height: int, width: int) -> NDArray[np.float32]:
        """Enlarge the map to the resolution of the image that the model saw.

        Parameters
        ----------
        height, width
            In pixels.

        Returns
        -------
        numpy.ndarray
            (height, width) float32 in [0, 1]; bilinear, then stretched to minimum and maximum; all zero for a constant
            map.
        """
        return normalise(torch.from_numpy(self.map)[None], (height, width))[0].numpy()

    @classmethod
    def from_stored(cls, stored: StoredMap, *, cached: bool) -> Explanation:
        """Make the answer from what the store keeps."""
        return cls(
            digest=stored.digest,
            model=stored.model,
            image_id=stored.image_id,
            method=stored.method,
            parameters=stored.parameters,
            target_class_id=stored.target_class_id,
            predicted_class_id=stored.predicted_class_id,
            confidence=stored.confidence,
            map=stored.map,
            measures=stored.measures,
            flags=tuple(stored.flags),
            seconds=stored.seconds,
            cached=cached,
        )
