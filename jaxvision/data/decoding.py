"""Decoding of image files: any kind that Pillow reads becomes upright RGB uint8, anything else becomes one clear line.

What a picture's pixels become:

* Orientation: turned upright as EXIF or XMP say. Animations: the first frame. Colour profiles: left aside, as in Pillow's ``convert``.
* Gray, palette, CMYK (Adobe's inverted too), YCbCr, Lab: as Pillow converts them to RGB. 16-bit colour: its high bytes, as Pillow reads it.
* Alpha channels and transparent colours: laid on ``background``.
* 16- and 32-bit gray and floats: Pillow cuts all above 255 to white, which destroys most such pictures. Here their largest value tells
  their scale: floats up to 1 are multiplied by 255 and rounded; values up to 255 stay, as in Pillow; values up to 65535 are divided by
  257 and rounded. Other values (negative, larger, NaN) are refused.
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

from jaxvision.data.paths import printable, unreadable
from jaxvision.data.requirement import need

WHITE = (255, 255, 255)
MAX_PIXELS = 64_000_000
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF")  # none that runs another program
_REASONS = {
    "gone": "the file is gone",
    "not readable": "the file cannot be read",
    "empty": "the file is empty",
    "not an image": "no image that Pillow can read",
    "truncated": "the image is cut off",
    "damaged": "the image is damaged",
    "too large": "the image is too large",
    "out of range": "the values are no picture",
}
_ORIENTATIONS = {  # EXIF's number: (what turns the stored picture upright; its axes swapped; the stored x, y run backwards)
    2: ("FLIP_LEFT_RIGHT", False, True, False),
    3: ("ROTATE_180", False, True, True),
    4: ("FLIP_TOP_BOTTOM", False, False, True),
    5: ("TRANSPOSE", True, False, False),
    6: ("ROTATE_270", True, False, True),
    7: ("TRANSVERSE", True, True, True),
    8: ("ROTATE_90", True, True, False),
}
_UPRIGHT = (None, False, False, False)
_GRAY_STEPS = {"L;2": 85, "L;4": 17}  # Pillow spreads PNG's 2- and 4-bit grays over 0..255

Choose = Callable[[int, int], tuple[tuple[int, int, int, int], tuple[int, int]]]


class BrokenImage(ValueError):
    """An image that cannot be read: ``path``, ``reason`` (a word or two to count by) and, as text, both in one line.

    ``reason``: one of "gone", "not readable", "empty", "not an image", "truncated", "damaged", "too large", "out of range", or a
    source's own. ``detail``: what was found, added in brackets.
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

    warnings.filterwarnings("ignore", module=r"PIL\.")  # once, for all threads: what matters in a file is raised, not warned of
    Image.init()
    return Image, ExifTags.Base.Orientation, tuple(name for name in _FORMATS if name in Image.OPEN)


def _reason(error: Exception, content: bytes) -> str:
    """Which kind of broken an error of Pillow's is."""
    Image = _pillow()[0]
    if isinstance(error, (Image.DecompressionBombError, MemoryError)) or "too large" in str(error):
        return "too large"
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image"
    cut = content[:4] == b"RIFF" and int.from_bytes(content[4:8], "little") + 8 > len(content)
    return "truncated" if cut or isinstance(error, EOFError) or "truncated" in str(error).lower() else "damaged"


@contextlib.contextmanager
def _guarded(content: bytes, path: str) -> Iterator[None]:
    """Whatever goes wrong within is a BrokenImage."""
    try:
        yield
    except BrokenImage:
        raise
    except Exception as error:  # damaged files raise almost anything: OSError, SyntaxError, struct.error, zlib.error, MemoryError, ...
        reason = _reason(error, content)
        raise BrokenImage(path, reason, "" if reason == "not an image" else str(error) or type(error).__name__) from error


def _webp_size(content: bytes) -> tuple[int, int]:
    """(width, height) of a WebP file's canvas, as its first chunk says."""
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
    """(width, height) of what a GIF file's first frame reaches, which may be more than its screen."""
    wide, high, flags = struct.unpack_from("<HHB", content, 6)
    at = 13 + (3 << (flags & 7) + 1 if flags & 128 else 0)
    while content[at] == 0x21:  # extensions, in blocks that begin with their length
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
    """Pillow's image, its pixels not yet decoded; those formats that make room for them when they are opened are measured before."""
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
    """How the stored picture has to be turned; not at all when its EXIF data cannot be read, which is no reason to lose the picture."""
    try:
        return _ORIENTATIONS.get(image.getexif().get(_pillow()[1]), _UPRIGHT)
    except Exception:  # SyntaxError, struct.error, KeyError, ...: whatever a damaged tag may raise
        return _UPRIGHT


def _turned(image, method: str | None):
    return image.transpose(getattr(_pillow()[0].Transpose, method)) if method else image


def _eight_bits(image, path: str):
    """A picture of 16- or 32-bit integers or floats as 8-bit gray, a transparent value kept as an alpha channel; any other as it is."""
    if image.mode[0] not in "IF":
        return image
    values = np.asarray(image)
    lowest, highest = values.min(), values.max()
    between = values.dtype.kind == "f" and 1 < highest < 2  # which of the three it is cannot be told
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
    """A picture of 8 bits as RGB."""
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    picture = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    canvas = _pillow()[0].new("RGB", image.size, tuple(background))
    canvas.paste(picture, mask=picture)
    return canvas


def _stored(box: tuple, size: tuple[int, int], turn: tuple) -> tuple:
    """A box (left, top, right, bottom) of the upright picture where it lies in the stored one of ``size`` (width, height)."""
    _, swapped, backwards_x, backwards_y = turn
    left, top, right, bottom = (box[1], box[0], box[3], box[2]) if swapped else box
    if backwards_x:
        left, right = size[0] - right, size[0] - left
    if backwards_y:
        top, bottom = size[1] - bottom, size[1] - top
    return left, top, right, bottom


def decode(content: bytes, path: str, *, background: Sequence[int] = WHITE, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The bytes of an image file as [H, W, 3] uint8, upright; the top of this file says what becomes of other kinds of pixels.

    ``path``: what messages call it. ``background``: the colour (r, g, b) 0..255 beneath transparent pixels. Its format is told by its
    content. Raises BrokenImage; an image of more than ``max_pixels`` is refused before there is room for its pixels.
    """
    with _guarded(content, path):
        image = _open(content, path, max_pixels)
        image.load()
        turn = _orientation(image)
        return np.asarray(_turned(_rgb(_eight_bits(image, path), background), turn[0]))


def decode_part(
    content: bytes, path: str, choose: Choose, *, background: Sequence[int] = WHITE, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """A part of an image file, resized, [h, w, 3] uint8, bilinear and antialiased; everything else as ``decode``.

    ``choose(height, width)`` of the upright image says which part and its new size: ((top, left, height, width), (h, w)). Equal to
    cutting it out of ``decode`` and resizing it, but for a rounding where the file is to be turned, and but for JPEGs whose part is at
    least twice as large as (h, w): they are decoded at the smallest of 1/2, 1/4, 1/8 that is still as large.
    """
    with _guarded(content, path):
        image = _open(content, path, max_pixels)
        drafts = image.format in ("JPEG", "MPO")
        if not drafts:
            image.load()  # which may turn it (TIFF) or find its orientation (PNG)
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
        touched = image.crop((left, top, math.ceil(box[2]), math.ceil(box[3])))  # whole pixels
        inside = (box[0] - left, box[1] - top, box[2] - left, box[3] - top)
        part = _rgb(touched, background).resize((broad, high), _pillow()[0].Resampling.BILINEAR, box=inside)
        return np.asarray(_turned(part, turn[0]))


def decode_mask(content: bytes, path: str, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """A mask of class numbers, [H, W] uint8: the palette's indices or the gray values as the file has them. Raises BrokenImage."""
    with _guarded(content, path):
        image = _open(content, path, max_pixels)
        step = _GRAY_STEPS.get(image.tile[0].args, 1) if image.format == "PNG" else 1
        values = np.asarray(image)
        if values.ndim != 2 or values.min() < 0 or values.max() > 255:
            raise BrokenImage(path, "damaged", f"mode {image.mode}, expected palette or gray values 0..255, one number a pixel")
        return values.astype(np.uint8) // step


def check_decoding(reason: str, background: Sequence[int], max_pixels: int) -> dict:
    """The options of ``decode`` as keywords, for a source (``reason``: its name) to keep. Raises ValueError for those that make no sense.

    ModuleNotFoundError without Pillow. Pillow itself refuses twice its ``MAX_IMAGE_PIXELS``, so more may not be asked for.
    """
    need("PIL", install="pillow", reason=reason)
    if len(background) != 3 or not all(isinstance(part, int) and 0 <= part <= 255 for part in background):
        raise ValueError(f"background: found {background}, expected (red, green, blue), each 0..255")
    limit = 2 * (_pillow()[0].MAX_IMAGE_PIXELS or 2**30)
    if not 0 < max_pixels <= limit:
        raise ValueError(f"max_pixels: found {max_pixels}, expected 1..{limit}, what Pillow reads at most")
    return {"background": tuple(background), "max_pixels": max_pixels}


def read_image(path: str | Path, *, background: Sequence[int] = WHITE, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """An image file as [H, W, 3] uint8, as ``decode``.

    Raises BrokenImage where it cannot be read, FileNotFoundError where it is not, PermissionError where this user may not read it.
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
        raise FileNotFoundError(f"path: {path} is no file, expected an image")
    return decode(content, str(path), **options)
