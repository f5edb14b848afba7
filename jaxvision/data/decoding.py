"""Decoding of image files: every format that Pillow reads becomes upright RGB uint8; anything else becomes a BrokenImage.

How pixels are converted:

* Orientation: rotated upright as EXIF or XMP says. Animations: the first frame. Colour profiles: ignored, as in Pillow's ``convert``.
* Gray, palette, CMYK (also inverted, as Adobe writes it), YCbCr, Lab: Pillow's conversion to RGB. 16-bit colour: its high bytes.
* Alpha channels and transparent colours: composed with ``background``.
* 16- and 32-bit gray and floats: Pillow clips values above 255 to white, which destroys most such images. Here the largest value decides:
  floats up to 1 are multiplied by 255 and rounded; values up to 255 stay, as in Pillow; values up to 65535 are divided by 257 and rounded.
  Other values (negative, larger, NaN) are refused.
"""

import contextlib
import functools
import io
import math
import struct
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from jaxvision.data.paths import need, printable, unreadable

WHITE = (255, 255, 255)
MAX_PIXELS = 64_000_000
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF")  # no format for which Pillow runs another program
_REASONS = {
    "gone": "the file does not exist any more",
    "not readable": "the file cannot be read",
    "empty": "the file is empty",
    "not an image": "the file is not an image that Pillow can read",
    "truncated": "the image is truncated",
    "damaged": "the image is damaged",
    "too large": "the image is too large",
    "out of range": "the values are not those of an image",
}
_ORIENTATIONS = {  # EXIF number: (Pillow's method that makes the image upright; axes swapped; stored x reversed; stored y reversed)
    2: ("FLIP_LEFT_RIGHT", False, True, False),
    3: ("ROTATE_180", False, True, True),
    4: ("FLIP_TOP_BOTTOM", False, False, True),
    5: ("TRANSPOSE", True, False, False),
    6: ("ROTATE_270", True, False, True),
    7: ("TRANSVERSE", True, True, True),
    8: ("ROTATE_90", True, True, False),
}
_UPRIGHT = (None, False, False, False)
_GRAY_STEPS = {"L;2": 85, "L;4": 17}  # Pillow scales PNG's 2- and 4-bit grays to 0..255 by these factors

Choose = Callable[[int, int], tuple[tuple[int, int, int, int], tuple[int, int]]]


class BrokenImage(ValueError):
    """Raised for an image that cannot be read. ``str(error)`` is one line with the path and the reason.

    ``path``: the file. ``reason``: "gone", "not readable", "empty", "not an image", "truncated", "damaged", "too large", "out of range", or
    another short text of a source; broken images are counted by it. ``detail``: what was found, added in brackets.

    >>> import jaxvision as jv
    >>> print(jv.data.BrokenImage("cat.jpg", "truncated", "3 bytes are missing"))
    cat.jpg: the image is truncated (3 bytes are missing)
    """

    def __init__(self, path: str, reason: str, detail: str = ""):
        super().__init__(path, reason, detail)  # so that it can be pickled
        self.path, self.reason, self.detail = path, reason, detail

    def __str__(self) -> str:
        detail = printable(" ".join(self.detail.split()))
        return f"{printable(self.path)}: {_REASONS.get(self.reason, self.reason)}{f' ({detail})' if detail else ''}"


@functools.cache
def _pillow() -> tuple:
    """(PIL.Image, PIL.ExifTags' number of the orientation, the formats of this installation)."""
    from PIL import ExifTags, Image

    warnings.filterwarnings("ignore", module=r"PIL\.")  # once, for all threads; damage in a file is raised as an error
    Image.init()
    return Image, ExifTags.Base.Orientation, tuple(name for name in _FORMATS if name in Image.OPEN)


def _reason(error: Exception, content: bytes) -> str:
    """The reason of the BrokenImage for an error of Pillow."""
    Image = _pillow()[0]
    if isinstance(error, (Image.DecompressionBombError, MemoryError)) or "too large" in str(error):
        return "too large"
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image"
    cut = content[:4] == b"RIFF" and int.from_bytes(content[4:8], "little") + 8 > len(content)
    return "truncated" if cut or isinstance(error, EOFError) or "truncated" in str(error).lower() else "damaged"


@contextlib.contextmanager
def _guarded(content: bytes, path: str) -> Iterator[None]:
    """Raise every error of the block as a BrokenImage."""
    try:
        yield
    except BrokenImage:
        raise
    except Exception as error:  # damaged files raise almost anything: OSError, SyntaxError, struct.error, zlib.error, MemoryError, ...
        reason = _reason(error, content)
        raise BrokenImage(path, reason, "" if reason == "not an image" else str(error) or type(error).__name__) from error


def _webp_size(content: bytes) -> tuple[int, int]:
    """(width, height) of a WebP file's canvas, from its first chunk."""
    kind = content[12:16]
    if kind == b"VP8X":
        wide, high = (int.from_bytes(content[at : at + 3], "little") for at in (24, 27))
        return wide + 1, high + 1
    if kind == b"VP8L":
        bits = int.from_bytes(content[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    wide, high = struct.unpack_from("<HH", content, 26)
    return wide & 0x3FFF, high & 0x3FFF


def _gif_size(content: bytes) -> tuple[int, int]:
    """(width, height) that a GIF file's first frame needs, which may be more than its logical screen."""
    wide, high, flags = struct.unpack_from("<HHB", content, 6)
    at = 13 + (3 << (flags & 7) + 1 if flags & 128 else 0)
    while content[at] == 0x21:  # extensions: blocks that begin with their length
        at += 2
        while content[at]:
            at += 1 + content[at]
        at += 1
    if content[at] != 0x2C:
        return wide, high
    left, top, frame_wide, frame_high = struct.unpack_from("<HHHH", content, at + 1)
    return max(wide, left + frame_wide), max(high, top + frame_high)


def _check_size(size: tuple[int, int], path: str, max_pixels: int) -> None:
    if size[0] * size[1] > max_pixels:
        found = f"{size[0]} x {size[1]} pixels, expected at most max_pixels, {max_pixels:,}"
        raise BrokenImage(path, "too large", found)


def _open(content: bytes, path: str, max_pixels: int):
    """Pillow's image, not decoded yet. The size of WebP and GIF is checked first, because Pillow allocates their pixels on opening."""
    if not content:
        raise BrokenImage(path, "empty")
    Image, _, formats = _pillow()
    measure = _webp_size if content[:4] == b"RIFF" and content[8:12] == b"WEBP" else _gif_size if content[:4] == b"GIF8" else None
    if measure:
        try:
            _check_size(measure(content), path, max_pixels)
        except (IndexError, struct.error) as error:
            raise BrokenImage(path, "truncated", "within its header") from error
    image = Image.open(io.BytesIO(content), formats=formats)
    _check_size(image.size, path, max_pixels)
    return image


def _orientation(image) -> tuple[str | None, bool, bool, bool]:
    """The row of ``_ORIENTATIONS`` for an image; images with unreadable EXIF data stay as they are."""
    try:
        return _ORIENTATIONS.get(image.getexif().get(_pillow()[1]), _UPRIGHT)
    except Exception:  # a damaged tag raises SyntaxError, struct.error, KeyError, ...
        return _UPRIGHT


def _turned(image, method: str | None):
    return image.transpose(getattr(_pillow()[0].Transpose, method)) if method else image


def _eight_bits(image, path: str):
    """An image of 16- or 32-bit integers or floats as 8-bit gray, with an alpha channel if one value is transparent; others stay."""
    if image.mode[0] not in "IF":
        return image
    values = np.asarray(image)
    lowest, highest = values.min(), values.max()
    between = values.dtype.kind == "f" and 1 < highest < 2  # ambiguous: neither 0..1 nor clearly 0..255
    if not (0 <= lowest and highest <= 65535) or between:
        found = f"{image.mode} from {lowest:g} to {highest:g}, expected 0..1, 0..255 or 0..65535"
        raise BrokenImage(path, "out of range", found)
    if highest > 255:
        values = np.rint(values / np.float32(257))
    elif highest <= 1 and values.dtype.kind == "f":
        values = np.rint(values * np.float32(255))
    gray = values.astype(np.uint8)
    if "transparency" not in image.info:
        return _pillow()[0].fromarray(gray)
    alpha = np.where(np.asarray(image) == image.info["transparency"], 0, 255).astype(np.uint8)
    return _pillow()[0].fromarray(np.stack([gray, alpha], -1))  # [H, W, 2], Pillow's LA


def _rgb(image, background: Sequence[int]):
    """An 8-bit image as RGB."""
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    canvas = _pillow()[0].new("RGB", image.size, tuple(background))
    canvas.paste(rgba, mask=rgba)
    return canvas


def _stored(box: tuple, size: tuple[int, int], turn: tuple) -> tuple:
    """The box (left, top, right, bottom) in the stored image of ``size`` (width, height) for a box of the upright image."""
    _, swapped, backwards_x, backwards_y = turn
    left, top, right, bottom = (box[1], box[0], box[3], box[2]) if swapped else box
    if backwards_x:
        left, right = size[0] - right, size[0] - left
    if backwards_y:
        top, bottom = size[1] - bottom, size[1] - top
    return left, top, right, bottom


def decode(content: bytes, path: str, *, background: Sequence[int] = WHITE, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode the bytes of an image file to [H, W, 3] uint8, upright; the top of this file lists the conversions.

    ``path``: the name in messages. ``background``: the colour (r, g, b) 0..255 behind transparent pixels. The format is recognized by the
    content. Raises BrokenImage; an image of more than ``max_pixels`` is refused before its pixels are allocated.
    """
    with _guarded(content, path):
        image = _open(content, path, max_pixels)
        image.load()
        turn = _orientation(image)
        return np.asarray(_turned(_rgb(_eight_bits(image, path), background), turn[0]))


def decode_part(
    content: bytes, path: str, choose: Choose, *, background: Sequence[int] = WHITE, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Decode a part of an image file and resize it to [h, w, 3] uint8, bilinear with antialiasing; all else as ``decode``.

    ``choose(height, width)`` gets the size of the upright image and returns the part and its new size, ((top, left, height, width), (h,
    w)). The result equals a crop of ``decode`` that is resized, up to rounding if the file is rotated. A JPEG whose part is at least twice
    as large as (h, w) is decoded at the smallest of 1/2, 1/4, 1/8 of its size at which the part is still as large as (h, w).
    """
    with _guarded(content, path):
        image = _open(content, path, max_pixels)
        drafts = image.format in ("JPEG", "MPO")
        if not drafts:
            image.load()  # this may rotate it (TIFF) or find its orientation (PNG)
        turn, size = _orientation(image), image.size
        image = image if drafts else _eight_bits(image, path)
    (top, left, tall, wide), (high, broad) = choose(*(size if turn[1] else size[::-1]))
    box = _stored((left, top, left + wide, top + tall), size, turn)
    if turn[1]:
        tall, wide, high, broad = wide, tall, broad, high
    scale = next((scale for scale in (8, 4, 2) if drafts and tall >= scale * high and wide >= scale * broad), 1)
    box = tuple(side / scale for side in box)
    left, top = int(box[0]), int(box[1])
    with _guarded(content, path):
        if scale > 1:
            image.draft(None, (size[0] // scale, size[1] // scale))
        outer = image.crop((left, top, math.ceil(box[2]), math.ceil(box[3])))  # the part, extended to whole pixels
        inside = (box[0] - left, box[1] - top, box[2] - left, box[3] - top)
        part = _rgb(outer, background).resize((broad, high), _pillow()[0].Resampling.BILINEAR, box=inside)
        return np.asarray(_turned(part, turn[0]))


def decode_mask(content: bytes, path: str, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode a mask of class numbers, [H, W] uint8: palette indices or gray values as they are stored. Raises BrokenImage."""
    with _guarded(content, path):
        image = _open(content, path, max_pixels)
        step = _GRAY_STEPS.get(image.tile[0].args, 1) if image.format == "PNG" else 1
        values = np.asarray(image)
        if values.ndim != 2 or values.min() < 0 or values.max() > 255:
            raise BrokenImage(path, "damaged", f"mode {image.mode}, expected palette or gray values 0..255, one for each pixel")
        return values.astype(np.uint8) // step


def check_decoding(reason: str, background: Sequence[int], max_pixels: int) -> dict:
    """The checked options of ``decode`` as keyword arguments; ``reason``: the name of the reader for messages.

    Raises ValueError for options out of range (Pillow reads at most twice its ``MAX_IMAGE_PIXELS``), ModuleNotFoundError without Pillow.
    """
    need("PIL", install="pillow", reason=reason)
    if len(background) != 3 or not all(isinstance(part, int) and 0 <= part <= 255 for part in background):
        raise ValueError(f"background: found {background}, expected (red, green, blue), each 0..255")
    limit = 2 * (_pillow()[0].MAX_IMAGE_PIXELS or 2**30)
    if not 0 < max_pixels <= limit:
        raise ValueError(f"max_pixels: found {max_pixels}, expected 1..{limit}, the most that Pillow reads")
    return {"background": tuple(background), "max_pixels": max_pixels}


def read_image(path: str | Path, *, background: Sequence[int] = WHITE, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read an image file as [H, W, 3] uint8, upright RGB, from any format that Pillow reads.

    Gray, palette, CMYK and 16-bit images are converted, transparent pixels are composed with ``background`` (r, g, b); animations give
    their first frame. ``max_pixels``: images with more pixels are refused before they are decoded.

    Raises BrokenImage if the file cannot be decoded, FileNotFoundError if it does not exist, PermissionError if this user may not read it.

    >>> import tempfile, PIL.Image
    >>> import jaxvision as jv
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     PIL.Image.new("L", (4, 2)).save(f"{folder}/gray.png")
    ...     image = jv.data.read_image(f"{folder}/gray.png")
    >>> image.shape, str(image.dtype)
    ((2, 4, 3), 'uint8')
    """
    options = check_decoding("jv.data.read_image", background, max_pixels)
    path = Path(path)
    try:
        content = path.read_bytes() if path.is_file() else None
    except PermissionError as error:
        raise unreadable("path", path, error) from error
    except OSError as error:
        raise BrokenImage(str(path), "not readable", error.strerror or str(error)) from error
    if content is None:
        raise FileNotFoundError(f"path: {path} does not exist or is not a file, expected an image file")
    return decode(content, str(path), **options)
