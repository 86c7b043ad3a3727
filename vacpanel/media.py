"""Pictures for the page: the originals, the heatmaps, the masked regions.

On a server they travel by URL (signed, so that the routes are as private as the page that hands the links out); in a
notebook or a bare ``panel serve`` they travel as data URIs. `Media.src` decides, nobody else needs to know.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from typing import TYPE_CHECKING

from PIL import Image

from etl.images import open_image
from etl.seen import seen
from vacpanel import render
from warehouse import UserError
from warehouse.maps import MapStore, StoredMap

if TYPE_CHECKING:
    from collections.abc import Callable

    from warehouse import Warehouse

PREFIX = "vacpanel-media"
SECRET_VARIABLE = "VACPANEL_MEDIA_SECRET"  # noqa: S105  (a name, not a secret)
MAX_SIDE = 1024

# Made before workers fork (--num-procs), so that each answers the links another handed out; servers on several machines
# behind one address set the variable.
_secret = (os.environ.get(SECRET_VARIABLE) or secrets.token_hex(16)).encode()
_served = False


def routes_are_served() -> None:
    """Note that this process answers media URLs (called when the server loads ``vacpanel.routes``)."""
    global _served
    _served = True


class Media:
    """The pictures of one warehouse.

    Parameters
    ----------
    warehouse
        The open warehouse whose images and maps are shown.
    """

    def __init__(self, warehouse: Warehouse) -> None:
        self.warehouse = warehouse
        self.key = hashlib.sha256(str(warehouse.root).encode()).hexdigest()[:12]
        self.maps = MapStore(warehouse.folder.explanations)

    def image(self, image_id: int, size: int = 96) -> str:
        """Return the address of an original image, its longest side `size` px."""
        return self.src(f"image/{int(image_id)}/{int(size)}")

    def seen(self, image_id: int, model: str) -> str:
        """Return the address of what `model` sees of an image: its own resize and crop."""
        return self.src(f"seen/{self.warehouse.model_row(model).key}/{int(image_id)}")

    def overlay(self, digest: str, threshold: float) -> str:
        """Return the address of a heatmap over its picture."""
        return self.src(f"overlay/{digest}/{round(threshold * 100)}")

    def masked(self, digest: str, threshold: float) -> str:
        """Return the address of a picture masked to its region of interest."""
        return self.src(f"masked/{digest}/{round(threshold * 100)}")

    def src(self, resource: str) -> str:
        """Return a URL where this process serves routes, else a data URI."""
        if _served:
            return f"{PREFIX}/{self.key}/{signature(self.key, resource)}/{resource}"
        mime, data = self.load(resource)
        return f"data:{mime};base64,{base64.b64encode(data).decode()}"

    def load(self, resource: str) -> tuple[str, bytes]:
        """Return (MIME type, bytes) of a resource.

        Raises
        ------
        UserError
            If there is no such picture.
        """
        kind, _, rest = resource.partition("/")
        first, _, second = rest.partition("/")
        loaders: dict[str, Callable[[str, int], tuple[str, bytes]]] = {
            "image": self._image,
            "seen": self._seen,
            "overlay": self._overlay,
            "masked": self._masked,
        }
        if kind not in loaders or not second.isdigit():
            raise UserError(f"There is no picture at {resource!r}.")
        return loaders[kind](first, int(second))

    def _image(self, image_id: str, size: int) -> tuple[str, bytes]:
        side = min(size, MAX_SIDE)
        picture = open_image(self.warehouse.image(int(image_id)).file)
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        return "image/jpeg", render.encode(picture, "JPEG")

    def _picture(self, image_id: int, model: str) -> Image.Image:
        """Return what the model saw, by the geometry its card records."""
        picture = open_image(self.warehouse.image(image_id).file)
        return seen(picture, model, self.warehouse.model_row(model).preprocess)

    def _seen(self, key: str, image_id: int) -> tuple[str, bytes]:
        found = self.warehouse.sql("SELECT model FROM models WHERE key = ?", [key]).fetchall()
        if not found:
            raise UserError(f"There is no model with the key {key!r}.")
        return "image/jpeg", render.encode(self._picture(image_id, found[0][0]), "JPEG")

    def _overlay(self, digest: str, percent: int) -> tuple[str, bytes]:
        stored = self._stored(digest)
        picture = self._picture(stored.image_id, stored.model)
        return "image/jpeg", render.encode(render.overlay(picture, stored.map, percent / 100), "JPEG")

    def _masked(self, digest: str, percent: int) -> tuple[str, bytes]:
        stored = self._stored(digest)
        picture = self._picture(stored.image_id, stored.model)
        return "image/jpeg", render.encode(render.masked(picture, stored.map, percent / 100), "JPEG")

    def _stored(self, digest: str) -> StoredMap:
        stored = self.maps.get(digest)
        if stored is None:
            raise UserError(f"There is no explanation {digest!r} in the cache.")
        return stored


def signature(key: str, resource: str) -> str:
    """Return the signature that makes a media URL valid (HMAC-SHA256, 96 bits)."""
    return hmac.new(_secret, f"{key}/{resource}".encode(), hashlib.sha256).hexdigest()[:24]


def signed(key: str, given: str, resource: str) -> bool:
    """Tell whether a URL was handed out by one of our pages."""
    return hmac.compare_digest(signature(key, resource), given)
