"""Pictures drawn on demand, with everything about them known: digits from fonts, shapes from geometry."""

import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxvision.data._order import uniforms
from jaxvision.data.boxes import polygon_mask
from jaxvision.data.paths import existing_file
from jaxvision.data.requirement import need

_FINE = 4  # a shape is drawn this many times larger, in black and white, and averaged
_GLYPH = 128  # pixels, the size of the letters that digits are scaled down from
_BUILT_IN = "built-in"  # Pillow's own font


def _between(low: float, high: float, number: float) -> float:
    return low + (high - low) * number


class _Rendered:
    """``count`` pictures; picture i is a pure function of (seed, i) and shows class i mod K."""

    def __init__(self, count: int, size: int, seed: int, classes: list[str]):
        for name, value, least in (("count", count, 1), ("size", size, 8)):
            if value < least:
                raise ValueError(f"{name}: found {value}, expected at least {least}")
        self.count, self.size, self.seed, self.classes = count, size, seed, classes
        self.labels = np.arange(count, dtype=np.int64) % len(classes)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> dict:
        i = range(self.count)[i]
        return self.drawn(int(self.labels[i]), uniforms(12, self.seed, i))


def _default_fonts() -> list[str]:
    """Pillow's own font and, where matplotlib is installed, its upright DejaVu fonts for text."""
    found = importlib.util.find_spec("matplotlib")  # finds it without importing it
    folder = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" if found else Path()
    names = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono", "DejaVuSerif", "DejaVuSerif-Bold")
    return [_BUILT_IN, *(str(folder / f"{name}.ttf") for name in names if (folder / f"{name}.ttf").is_file())]


@functools.lru_cache(maxsize=1024)
def _glyph(font: str, character: str):
    """A character as a gray Pillow image, white on black, cut to its ink."""
    from PIL import Image, ImageDraw, ImageFont

    letters = ImageFont.load_default(_GLYPH) if font == _BUILT_IN else ImageFont.truetype(font, _GLYPH)
    canvas = Image.new("L", (3 * _GLYPH, 3 * _GLYPH))
    ImageDraw.Draw(canvas).text((_GLYPH, _GLYPH), character, fill=255, font=letters)
    if canvas.getbbox() is None:
        raise ValueError(f"fonts: {font} has no ink for {character!r}, expected fonts that have the digits 0 to 9")
    return canvas.crop(canvas.getbbox())


class _Digits(_Rendered):
    def __init__(self, count: int, size: int, seed: int, fonts: list[str]):
        super().__init__(count, size, seed, [str(digit) for digit in range(10)])
        self.fonts = fonts

    def drawn(self, label: int, numbers: np.ndarray) -> dict:
        """A digit, brighter than the ground it stands on: its font, tilt, size, place and two grays from ``numbers`` in [0, 1)."""
        from PIL import Image

        ink = _glyph(self.fonts[int(numbers[0] * len(self.fonts))], str(label))
        ink = ink.rotate(_between(-15, 15, numbers[1]), Image.Resampling.BICUBIC, expand=True)
        ink = ink.crop(ink.getbbox())
        longest = _between(0.55, 0.9, numbers[2]) * self.size
        wide, tall = (max(1, round(side * longest / max(ink.size))) for side in ink.size)
        left, top = (int(number * (self.size - side + 1)) for number, side in zip(numbers[3:5], (wide, tall), strict=True))
        coverage = np.zeros((self.size, self.size, 1))
        coverage[top : top + tall, left : left + wide, 0] = np.asarray(ink.resize((wide, tall), Image.Resampling.BOX)) / 255
        ground, bright = _between(0, 100, numbers[5]), _between(155, 255, numbers[6])
        return {"image": np.rint(ground + (bright - ground) * coverage).astype(np.uint8), "label": label}


def _corners(count: int, radii: Sequence[float] = (1.0,)) -> np.ndarray:
    """``count`` corners [count, 2] around the origin, at the ``radii`` in turn."""
    angle = 2 * np.pi * np.arange(count) / count
    return np.stack([np.sin(angle), -np.cos(angle)], 1) * np.resize(radii, count)[:, None]


def _cross(arm: float) -> np.ndarray:
    """The twelve corners [12, 2] of a cross whose arms are 2 x ``arm`` as wide as they are long, within the unit circle."""
    quarter = np.array([(arm, -1), (arm, -arm), (1, -arm)]) / np.hypot(1, arm)
    turn = np.array([[0, 1], [-1, 0]])  # by 90 degrees
    return np.concatenate([quarter @ np.linalg.matrix_power(turn, times) for times in range(4)])


_SHAPES = {  # outlines [n, 2] (x, y) within the unit circle; a circle has so many corners that nobody sees them
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
        """A shape and where it is: its tilt, size, place and two colours from ``numbers`` in [0, 1)."""
        angle, radius = 2 * np.pi * numbers[0], _between(0.18, 0.42, numbers[1]) * self.size
        rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        corners = radius * _SHAPES[self.classes[label]] @ rotation
        corners += numbers[2:4] * (self.size - np.ptp(corners, axis=0)) - corners.min(0)  # anywhere inside the picture
        fine = polygon_mask(corners * _FINE, (_FINE * self.size,) * 2)
        coverage = fine.reshape(self.size, _FINE, self.size, _FINE).mean((1, 3))[..., None]  # [size, size, 1]
        ground = numbers[4:7]
        colour = (ground + _between(0.3, 0.7, numbers[7:10])) % 1  # differs from the ground by 0.3 or more in every channel
        return {
            "image": np.rint(255 * (ground + (colour - ground) * coverage)).astype(np.uint8),
            "label": label,
            "boxes": np.concatenate([corners.min(0), corners.max(0)]).astype(np.float32)[None],
            "box_label": np.array([label], np.int32),
            "mask": np.where(coverage[..., 0] >= 0.5, label + 1, 0).astype(np.uint8),
        }


def rendered_digits(count: int, *, size: int = 32, fonts: Sequence[str | Path] | None = None, seed: int = 0):
    """``count`` pictures of the digits 0..9 in various fonts: [size, size, 1] uint8, bright on dark.

    Font, tilt (up to 15 degrees), size (the longer side of the ink 0.55 to 0.9 of the picture), place and the two grays are drawn;
    example i is a pure function of (seed, i) and shows digit i mod 10. ``fonts``: TrueType or OpenType files; without, Pillow's own and
    matplotlib's DejaVu fonts where it is installed. Pixels may differ between versions of Pillow. Raises FileNotFoundError or ValueError
    for a font that cannot be used.
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


def shapes(count: int, *, size: int = 64, seed: int = 0):
    """``count`` pictures [size, size, 3] uint8 of one shape each on a plain ground: circle, cross, pentagon, square, star, triangle.

    Colours, size, place and tilt are drawn; example i is a pure function of (seed, i) and shows shape i mod 6. Also known, exactly:
    "boxes" [1, 4] float32 and "box_label" [1] int32 as in ``jaxvision.data.boxes``, and "mask" [size, size] uint8: 0 is ground, 1 + label
    the shape, where it covers at least half of a pixel.
    """
    return _Shapes(count, size, seed)
