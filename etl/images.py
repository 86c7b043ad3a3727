"""Reading image files that nobody vouches for.

Images are decoded by Pillow and converted to RGB as ``torchvision.datasets.ImageFolder`` does it: an EXIF orientation
is not applied, the first frame of an animation counts, transparency is dropped. Training pipelines see images so, and
published accuracies rest on it.
"""

from __future__ import annotations

import hashlib
import io
import stat
from dataclasses import dataclass
from pathlib import Path

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from warehouse.errors import UserError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp", ".gif"})
"""File names that count as images (lower case); torchvision's list and ``.gif``."""

PIXEL_LIMIT = 178_956_970
"""Largest image that is decoded, in pixels: Pillow's own limit against decompression bombs, 512 MiB as RGB."""

BYTE_LIMIT = 2 << 30
"""Largest file that is read, in bytes: more than :data:`PIXEL_LIMIT` pixels with four channels of 16 bits."""

# Decoders that run other programs (EPS calls Ghostscript) are left out. Importing a plug-in registers its format.
_FORMATS = tuple(
    decoder.format
    for decoder in (
        JpegImagePlugin.JpegImageFile,
        PngImagePlugin.PngImageFile,
        PpmImagePlugin.PpmImageFile,
        BmpImagePlugin.BmpImageFile,
        TiffImagePlugin.TiffImageFile,
        WebPImagePlugin.WebPImageFile,
        GifImagePlugin.GifImageFile,
    )
)


class UnreadableImage(UserError):  # noqa: N818 - says what is the case
    """An image file cannot be decoded; the message is the reason, without the path."""


@dataclass(frozen=True)
class DecodedImage:
    """A decoded file.

    Attributes
    ----------
    image
        Mode ``"RGB"``.
    sha256
        Of the file's bytes, hexadecimal.
    """

    image: Image.Image
    sha256: str

    @property
    def width(self) -> int:
        """In pixels, as stored in the file."""
        return self.image.width

    @property
    def height(self) -> int:
        """In pixels, as stored in the file."""
        return self.image.height


def open_image(path: Path | str) -> Image.Image:
    """Decode an image file to RGB.

    Raises
    ------
    UnreadableImage
        If it cannot be read or decoded, or is larger than :data:`BYTE_LIMIT` or
        :data:`PIXEL_LIMIT`.
    """
    return read_image(path).image


def read_image(path: Path | str) -> DecodedImage:
    """Decode an image file to RGB and hash its bytes.

    Raises
    ------
    UnreadableImage
        If it cannot be read or decoded, or is larger than :data:`BYTE_LIMIT` or
        :data:`PIXEL_LIMIT`.
    """
    try:
        data = _read_bytes(Path(path))
    except OSError as error:
        raise UnreadableImage(f"cannot be read: {error.strerror or error}") from error
    return DecodedImage(_decode(data), hashlib.sha256(data).hexdigest())


def _read_bytes(path: Path) -> bytes:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for, a device has no end
        raise UnreadableImage("cannot be read: it is not a regular file")
    if status.st_size > BYTE_LIMIT:
        raise UnreadableImage(f"too large: more than {BYTE_LIMIT} bytes")
    return path.read_bytes()


def _decode(data: bytes) -> Image.Image:
    if not data:
        raise UnreadableImage("the file is empty")
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if image.width * image.height > PIXEL_LIMIT:
                raise Image.DecompressionBombError  # noqa: TRY301 - as Pillow does beyond its own limit
            return image.convert("RGB")
    except Image.UnidentifiedImageError as error:
        raise UnreadableImage("not an image in a known format") from error
    except Image.DecompressionBombError as error:
        raise UnreadableImage(f"too large: more than {PIXEL_LIMIT} pixels") from error
    except MemoryError as error:
        raise UnreadableImage("not enough memory to decode it") from error
    except Exception as error:
        raise UnreadableImage(f"cannot be decoded: {str(error) or type(error).__name__}") from error
