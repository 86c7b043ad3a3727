"""What a model saw of an image, to look at below its explanation; only a user's own transform needs torch for it."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from etl.geometry import described

if TYPE_CHECKING:
    from PIL import Image

    from etl.preprocess import Preprocessing


def seen(image: Image.Image, model: str, preprocess: str) -> Image.Image:
    """Resize and crop an image as a model does.

    Parameters
    ----------
    image
        Mode ``"RGB"``.
    model, preprocess
        Columns of the relation ``models``. Only a transform of the user's own needs its model, and then torch.

    Returns
    -------
    PIL.Image.Image
        Of the size of :meth:`etl.explain.requests.Explanation.attention` maps.

    Raises
    ------
    UserError
        If the model's own transform cannot be loaded.
    """
    geometry = described(preprocess)
    return _own_transform(model).view(image) if geometry is None else geometry.view(image)


@lru_cache(maxsize=64)
def _own_transform(model: str) -> Preprocessing:
    from etl.models import resolve

    return resolve(model).load().preprocess
