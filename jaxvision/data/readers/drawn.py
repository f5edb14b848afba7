"""Rendered images with exact annotations: digits from fonts, and geometric shapes."""

import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxvision import checks
from jaxvision.data._order import uniforms
from jaxvision.data.boxes import polygon_mask
from jaxvision.data.paths import existing_file, need
from jaxvision.data.source import Source

_OVERSAMPLING = 4  # a shape is drawn this many times larger, in black and white, and averaged
_FONT_SIZE = 128  # pixels; digits are scaled down from it
_BUILT_IN = "built-in"  # Pillow's own font


def _between(low: float, high: float, number: float) -> float:
    return low + (high - low) * number


class _Rendered:
    """``count`` images; image i is a pure function of (seed, i) and shows class i mod K."""

    def __init__(self, count: int, size: int, seed: int, classes: list[str]):
        checks.integer("count", count)
        checks.integer("size", size, at_least=8)
        self.count, self.size, self.seed, self.classes = count, size, seed, classes
        self.labels = np.arange(count, dtype=np.int64) % len(classes)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> dict:
        i = range(self.count)[i]
        return self.drawn(int(self.labels[i]), uniforms(12, self.seed, i))


def _default_fonts() -> list[str]:
    """Pillow's own font and, if matplotlib is installed, its upright DejaVu fonts."""
    found = importlib.util.find_spec("matplotlib")  # does not import it
    folder = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" if found else Path()
    names = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono", "DejaVuSerif", "DejaVuSerif-Bold")
    return [_BUILT_IN, *(str(folder / f"{name}.ttf") for name in names if (folder / f"{name}.ttf").is_file())]


@functools.lru_cache(maxsize=1024)
def _glyph(font: str, character: str):
    """A character as a gray Pillow image, white on black, cropped to its bounding box."""
    from PIL import Image, ImageDraw, ImageFont

    letters = ImageFont.load_default(_FONT_SIZE) if font == _BUILT_IN else ImageFont.truetype(font, _FONT_SIZE)
    canvas = Image.new("L", (3 * _FONT_SIZE, 3 * _FONT_SIZE))
    ImageDraw.Draw(canvas).text((_FONT_SIZE, _FONT_SIZE), character, fill=255, font=letters)
    if canvas.getbbox() is None:
        raise ValueError(f"fonts: {font} has no glyph for {character!r}, expected fonts with the digits 0 to 9")
    return canvas.crop(canvas.getbbox())


class _Digits(_Rendered):
    def __init__(self, count: int, size: int, seed: int, fonts: list[str]):
        super().__init__(count, size, seed, [str(digit) for digit in range(10)])
        self.fonts = fonts

    def drawn(self, label: int, numbers: np.ndarray) -> dict:
        """A digit, brighter than its background: font, rotation, size, position and two grays are computed from ``numbers`` in [0, 1)."""
        from PIL import Image

        ink = _glyph(self.fonts[int(numbers[0] * len(self.fonts))], str(label))
        ink = ink.rotate(_between(-15, 15, numbers[1]), Image.Resampling.BICUBIC, expand=True)
        ink = ink.crop(ink.getbbox())
        longest = _between(0.55, 0.9, numbers[2]) * self.size
        wide, tall = (max(1, round(side * longest / max(ink.size))) for side in ink.size)
        left, top = (int(number * (self.size - side + 1)) for number, side in zip(numbers[3:5], (wide, tall), strict=True))
        coverage = np.zeros((self.size, self.size, 1))
        coverage[top : top + tall, left : left + wide, 0] = np.asarray(ink.resize((wide, tall), Image.Resampling.BOX)) / 255
        background, bright = _between(0, 100, numbers[5]), _between(155, 255, numbers[6])
        return {"image": np.rint(background + (bright - background) * coverage).astype(np.uint8), "label": label}


def _corners(count: int, radii: Sequence[float] = (1.0,)) -> np.ndarray:
    """``count`` corners [count, 2] around the origin, at the ``radii`` in turn."""
    angle = 2 * np.pi * np.arange(count) / count
    return np.stack([np.sin(angle), -np.cos(angle)], 1) * np.resize(radii, count)[:, None]


def _cross(arm: float) -> np.ndarray:
    """The twelve corners [12, 2] of a cross within the unit circle; ``arm``: half the width of its arms, relative to their length."""
    quarter = np.array([(arm, -1), (arm, -arm), (1, -arm)]) / np.hypot(1, arm)
    turn = np.array([[0, 1], [-1, 0]])  # by 90 degrees
    return np.concatenate([quarter @ np.linalg.matrix_power(turn, times) for times in range(4)])


_SHAPES = {  # outlines [n, 2] (x, y) within the unit circle; 72 corners approximate the circle
    "circle": _corners(72),
    "cross": _cross(0.3),
    "pentagon": _corners(5),
    "square": _corners(4),
    "star": _corners(10, (1.0, 0.4)),
    "triangle": _corners(3),
}


class _Shapes(_Rendered):
    def __init__(self, count: int, size: int, seed: int):
        super().__init__(count, size, seed, list(_SHAPES))

    def drawn(self, label: int, numbers: np.ndarray) -> dict:
        """A shape with its box and mask: rotation, size, position and two colours are computed from ``numbers`` in [0, 1)."""
        angle, radius = 2 * np.pi * numbers[0], _between(0.18, 0.42, numbers[1]) * self.size
        rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        corners = radius * _SHAPES[self.classes[label]] @ rotation
        corners += numbers[2:4] * (self.size - np.ptp(corners, axis=0)) - corners.min(0)  # anywhere inside the image
        fine = polygon_mask(corners * _OVERSAMPLING, (_OVERSAMPLING * self.size,) * 2)
        coverage = fine.reshape(self.size, _OVERSAMPLING, self.size, _OVERSAMPLING).mean((1, 3))[..., None]  # [size, size, 1]
        background = numbers[4:7]
        color = (background + _between(0.3, 0.7, numbers[7:10])) % 1  # differs from the background by at least 0.3 in every channel
        return {
            "image": np.rint(255 * (background + (color - background) * coverage)).astype(np.uint8),
            "label": label,
            "boxes": np.concatenate([corners.min(0), corners.max(0)]).astype(np.float32)[None],
            "box_label": np.array([label], np.int32),
            "mask": np.where(coverage[..., 0] >= 0.5, label + 1, 0).astype(np.uint8),
        }


def rendered_digits(count: int, *, size: int = 32, fonts: Sequence[str | Path] | None = None, seed: int = 0) -> Source:
    """``count`` images of the digits 0..9 in several fonts: [size, size, 1] uint8, bright on dark.

    Font, rotation (up to 15 degrees), size (0.55 to 0.9 of the image), position and the two grays are random; example i is a pure function
    of (seed, i) and shows digit i mod 10. ``fonts``: TrueType or OpenType files; by default Pillow's own font and, if matplotlib is
    installed, its DejaVu fonts. Pixels may differ between versions of Pillow.

    Raises FileNotFoundError or ValueError for a font that cannot be used.

    >>> import jaxvision as jv
    >>> example = jv.data.rendered_digits(100, size=28)[13]
    >>> example["image"].shape, example["label"]
    ((28, 28, 1), 3)
    """
    need("PIL", install="pillow", reason="jv.data.rendered_digits")
    if fonts is None:
        return _Digits(count, size, seed, _default_fonts())
    paths = [str(existing_file(font, "fonts", "a TrueType or OpenType file")) for font in fonts]
    if not paths:
        raise ValueError("fonts: found none, expected at least one TrueType or OpenType file")
    for path in paths:
        try:
            _glyph(path, "0")
        except OSError as error:
            raise ValueError(f"fonts: {path} cannot be read as a font ({error}), expected a TrueType or OpenType file") from error
    return _Digits(count, size, seed, paths)


def shapes(count: int, *, size: int = 64, seed: int = 0) -> Source:
    """``count`` images [size, size, 3] uint8 of one shape on a plain background: circle, cross, pentagon, square, star or triangle.

    Colours, size, position and rotation are random; example i is a pure function of (seed, i) and shows shape i mod 6. Exact annotations:
    "boxes" [1, 4] float32 and "box_label" [1] int32 (boxes are x_min, y_min, x_max, y_max in pixels), and "mask" [size, size] uint8: 0 for
    background, 1 + label where the shape covers at least half of a pixel.

    >>> import jaxvision as jv
    >>> source = jv.data.shapes(12, size=32)
    >>> source.classes[source[3]["label"]], source[3]["boxes"].shape, int(source[3]["mask"].max())
    ('square', (1, 4), 4)
    """
    return _Shapes(count, size, seed)
