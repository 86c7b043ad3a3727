"""Pictures for the page: the originals, what models see of them, and maps as a browser paints them.

On a server they travel by URL (signed, so that the routes are as private as the page that hands the links out); in a
notebook or a bare ``panel serve`` they travel as data URIs. `Media.src` decides, nobody else needs to know.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import os
import secrets
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from etl.geometry import Geometry, described
from etl.images import open_image
from etl.seen import seen
from vacpanel import layers, render
from warehouse import UserError, VacpanelError
from warehouse.maps import MapStore, StoredMap

if TYPE_CHECKING:
    from collections.abc import Callable

    from warehouse import Warehouse

logger = logging.getLogger(__name__)
PREFIX = "vacpanel-media"
SECRET_VARIABLE = "VACPANEL_MEDIA_SECRET"  # noqa: S105  (a name, not a secret)
MAX_SIDE = 1024
PREVIEW_SIDE = 28  # cells; an address has to hold a preview, and no method's grid is finer than BBMP's
KEPT_LAYERS = 512  # pictures of some 20 KB: a map that is shown again, to anybody, costs nothing
KEPT_SEEN = 128  # pictures of some 10 to 15 KB, of what models see
KEPT_AREAS = 512  # lists of 101 numbers

# Made before workers fork (--num-procs), so that each answers the links another handed out; servers on several machines
# behind one address set the variable.
_secret = (os.environ.get(SECRET_VARIABLE) or secrets.token_hex(16)).encode()
_served = False


def routes_are_served() -> None:
    """Note that this process answers media URLs (called when the server loads ``vacpanel.routes``)."""
    global _served
    _served = True


def by_address() -> bool:
    """Whether pictures travel by URL here: large ones may be offered that nobody may ever look at."""
    return _served


class _Card(NamedTuple):
    """What pictures need to know of a model; `same` is the first key of those that see the same of every image."""

    model: str
    preprocess: str
    geometry: Geometry | None
    same: str


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
        self._cards = lru_cache(2)(self._read_cards)
        self._painted = lru_cache(KEPT_LAYERS)(self._paint)
        self._looked_at = lru_cache(KEPT_SEEN)(self._look_at)

    def image(self, image_id: int, size: int = 96) -> str:
        """Return the address of an original image, its longest side `size` px."""
        return self.src(f"image/{int(image_id)}/{int(size)}")

    def seen(self, image_id: int, key: str) -> str:
        """Return the address of what the model with this key sees of an image: its own resize and crop.

        Models that see the same have the same address, so that a browser loads it once.
        """
        return self.src(f"seen/{self._card(key).same}/{int(image_id)}")

    def layers(self, name: str) -> str:
        """Return the address of a map as `vacpanel.layers` makes it; `name` is a digest or comes from `preview`."""
        return self.src(f"layers/{name}/0")

    def areas(self, image_id: int, key: str, attention: np.ndarray) -> list[int]:
        """Return the size of a map's region of interest at every percent of the threshold, see `layers.areas`.

        It is counted in the pixels of the model, as everywhere else, not in those of the page.
        """
        pixels = np.ascontiguousarray(attention, dtype=np.float32)
        return list(_areas(pixels.tobytes(), pixels.shape, self.seen_size(image_id, key)))

    def seen_size(self, image_id: int, key: str) -> tuple[int, int]:
        """Return width and height in px of what the model with this key sees of an image."""
        geometry = self._card(key).geometry
        if geometry is not None and geometry.crop is not None:  # a square, whatever the image
            return geometry.crop, geometry.crop
        return self.picture(int(image_id), key).size

    @staticmethod
    def preview(image_id: int, key: str, attention: np.ndarray) -> str:
        """Return a name for a map that no store keeps.

        The name holds the map itself, in 8 bits: nothing has to be kept for it, and every process can answer.

        Parameters
        ----------
        image_id, key
            The explained image, and the key of the model.
        attention
            (h, w) float in [0, 1]; made smaller when it has more than `PREVIEW_SIDE` rows or columns.
        """
        small = Image.fromarray(np.round(255 * attention).astype(np.uint8))
        if max(small.size) > PREVIEW_SIDE:
            small.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE), Image.Resampling.BOX)
        cells = base64.urlsafe_b64encode(small.tobytes()).decode().rstrip("=")
        return f"{key}.{int(image_id)}.{small.height}.{cells}"

    def src(self, resource: str) -> str:
        """Return a URL where this process serves routes, else a data URI, or nothing for a picture that is lost."""
        if _served:
            return f"{PREFIX}/{self.key}/{signature(self.key, resource)}/{resource}"
        try:
            mime, data = self.load(resource)
        except (VacpanelError, OSError) as error:
            logger.warning("No picture at %s: %s", resource, error)
            return ""
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
            "layers": self._layers,
        }
        if kind not in loaders or not second.isdigit():
            raise UserError(f"There is no picture at {resource!r}.")
        return loaders[kind](first, int(second))

    def _image(self, image_id: str, size: int) -> tuple[str, bytes]:
        return "image/jpeg", render.encode(self.original(int(image_id), min(size, MAX_SIDE)), "JPEG")

    def original(self, image_id: int, side: int) -> Image.Image:
        """Return an image, reduced to at most `side` px."""
        picture = open_image(self.warehouse.image(image_id).file)
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        return picture

    def picture(self, image_id: int, key: str) -> Image.Image:
        """Return what the model with this key sees of an image, by the geometry that its card records."""
        card = self._card(key)
        return seen(open_image(self.warehouse.image(image_id).file), card.model, card.preprocess)

    def _seen(self, key: str, image_id: int) -> tuple[str, bytes]:
        return "image/jpeg", self._looked_at(key, image_id)

    def _look_at(self, key: str, image_id: int) -> bytes:
        # Fine enough for the colours of a region to be counted.
        picture = layers.shown(self.picture(image_id, key))
        return render.encode(picture, "JPEG", quality=92, subsampling=0)

    def _card(self, key: str) -> _Card:
        card = self._cards(self.warehouse.generation).get(key)
        if card is None:
            raise UserError(f"There is no model with the key {key!r}.")
        return card

    def _read_cards(self, generation: int) -> dict[str, _Card]:  # noqa: ARG002
        first: dict[Geometry, str] = {}
        cards = {}
        query = "SELECT key, model, preprocess FROM models ORDER BY key"
        for key, model, preprocess in self.warehouse.sql(query).fetchall():
            geometry = described(preprocess)
            same = key if geometry is None else first.setdefault(geometry, key)
            cards[key] = _Card(model, preprocess, geometry, same)
        return cards

    def _layers(self, name: str, _: int) -> tuple[str, bytes]:
        return "image/png", self._painted(name)

    def _paint(self, name: str) -> bytes:
        image_id, key, attention = self._explained(name)
        size = layers.shown_size(self.seen_size(image_id, key))
        return render.encode(layers.layers(layers.at_size(attention, size)))

    def _explained(self, name: str) -> tuple[int, str, np.ndarray]:
        """Return image, key of the model and map, by a digest or the name of a preview."""
        if "." not in name:
            stored = self._stored(name)
            cards = self._cards(self.warehouse.generation)
            # Of a model that was run anew the old maps are still there.
            keys = (key for key, card in cards.items() if card.model == stored.model)
            key = stored.model_key if stored.model_key in cards else next(keys, stored.model_key)
            return stored.image_id, key, stored.map
        key, image_id, height, cells = name.rsplit(".", 3)
        flat = np.frombuffer(base64.urlsafe_b64decode(cells + "=="), np.uint8)
        return int(image_id), key, flat.reshape(int(height), -1) / np.float32(255)

    def _stored(self, digest: str) -> StoredMap:
        stored = self.maps.get(digest)
        if stored is None:
            raise UserError(f"There is no explanation {digest!r} in the cache.")
        return stored


@lru_cache(KEPT_AREAS)
def _areas(pixels: bytes, shape: tuple[int, ...], size: tuple[int, int]) -> tuple[int, ...]:
    attention = np.frombuffer(pixels, np.float32).reshape(shape)
    return tuple(layers.areas(layers.at_size(attention, size)))


def signature(key: str, resource: str) -> str:
    """Return the signature that makes a media URL valid (HMAC-SHA256, 96 bits)."""
    return hmac.new(_secret, f"{key}/{resource}".encode(), hashlib.sha256).hexdigest()[:24]


def signed(key: str, given: str, resource: str) -> bool:
    """Tell whether a URL was handed out by one of our pages."""
    return hmac.compare_digest(signature(key, resource), given)
