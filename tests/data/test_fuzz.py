"""Thousands of mutated image files: every one is a picture or a BrokenImage of one line, and memory stays within the limit of pixels.

The longer form, of 150,000 files:

    python -m benchmarks.full_checks image_files
"""

import collections
import io
import json
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from jaxvision.data import decoding

MAX_PIXELS = 4_000_000
MEBIBYTES = 100  # of growth: 4 million pixels in Pillow, in numpy and turned, 4 and 3 and 4 bytes each, and as much again for decoders
ASKED, OTHERS = ("JPEG", "PNG", "WEBP"), ("GIF", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF")


def picture() -> Image.Image:
    y, x = np.mgrid[:72, :96]
    return Image.fromarray(np.stack([x * 2, y * 3, (x * y) % 256], -1).astype(np.uint8))


def whole_files(formats: tuple[str, ...]) -> list[bytes]:
    """Files of the given formats, in the variants that a camera or a web page makes."""
    plain, turned = picture(), Image.Exif()
    turned[0x0112] = 6
    clear = plain.convert("RGBA")
    clear.putalpha(plain.getchannel(0))
    deep = Image.fromarray(np.asarray(plain.convert("L")).astype(np.uint16) * 257)
    frames = {"save_all": True, "append_images": [plain.rotate(9), plain.rotate(20)]}
    variants = {
        "JPEG": [(plain, {}), (plain, {"progressive": True, "exif": turned}), (plain.convert("CMYK"), {}), (plain.convert("L"), {})],
        "PNG": [(plain, {}), (clear, {"exif": turned}), (deep, {"transparency": 257}), (plain.quantize(32), {"transparency": 3})],
        "WEBP": [(plain, {}), (clear, {"exif": turned}), (clear, {"lossless": True}), (plain, frames)],
        "GIF": [(plain, {}), (plain.quantize(8), {"transparency": 1}), (plain, frames)],
        "TIFF": [(plain, {}), (plain, {"compression": "tiff_lzw"}), (plain, {"compression": "jpeg"}), (deep, {"compression": "packbits"})],
        "BMP": [(plain, {}), (plain.quantize(16), {})],
        "PPM": [(plain, {}), (deep, {}), (plain.convert("1"), {})],
        "JPEG2000": [(plain, {}), (clear, {})],
        "AVIF": [(plain, {}), (clear, {"exif": turned})],
    }
    Image.init()
    found = []
    for name in formats:
        for image, options in variants[name] if name in Image.SAVE else ():
            file = io.BytesIO()
            image.save(file, name, **options)
            found.append(file.getvalue())
    return found


REASONS = {"empty", "not an image", "truncated", "damaged", "too large", "out of range"}


def mutated(files: list[bytes], random: np.random.Generator) -> bytes:
    """One of the files with flipped bits, cut off, spliced with another, with other numbers in its header, or with a part replaced."""
    content = bytearray(files[random.integers(len(files))])
    kind, at = random.integers(5), int(random.integers(len(content)))
    if kind == 0:
        for place in random.integers(len(content), size=random.integers(1, 9)):
            content[place] ^= 1 << int(random.integers(8))
    elif kind == 1:
        content = content[:at]
    elif kind == 2:
        other = files[random.integers(len(files))]
        content = content[:at] + other[int(random.integers(len(other))) :]
    elif kind == 3:
        for place in random.integers(min(len(content), 64), size=random.integers(1, 6)):
            content[place] = random.integers(256)
    else:
        length = int(random.integers(1, 64))
        content[at : at + length] = random.bytes(length) if random.integers(2) else b""
    return bytes(content)


def outcome(content: bytes, whole: bool) -> str:
    """What became of a file: "read", or the reason why not."""
    try:
        if whole:
            image = decoding.decode(content, "file", max_pixels=MAX_PIXELS)
        else:
            image = decoding.decode_part(content, "file", lambda h, w: ((h // 3, 0, h - h // 3, w), (9, 7)), max_pixels=MAX_PIXELS)
            assert image.shape == (9, 7, 3)
    except decoding.BrokenImage as error:
        assert "\n" not in str(error) and error.path == "file" and error.reason in REASONS
        return error.reason
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.shape[0] * image.shape[1] <= MAX_PIXELS
    return "read"


def peak() -> float:
    """The most memory that this process has held since it began, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # where ru_maxrss would begin with the peak of the parent
        return int(re.search(r"VmHWM:\s*(\d+) kB", status.read_text())[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2 ** (20 if sys.platform == "darwin" else 10)


def report(formats: tuple[str, ...], count: int, seed: int) -> None:
    """Reads ``count`` mutated files and prints, as JSON, what became of them and what it took."""
    files, random = whole_files(formats), np.random.default_rng(seed)
    assert all(outcome(content, whole) == "read" for content in files for whole in (True, False))
    before, slowest, found = peak(), 0.0, collections.Counter()
    for number in range(count):
        content, begin = mutated(files, random), time.perf_counter()
        found[outcome(content, number % 2 == 0)] += 1
        slowest = max(slowest, time.perf_counter() - begin)
    print(json.dumps({"outcomes": dict(found), "grown_mebibytes": peak() - before, "slowest_seconds": slowest}))


def fuzzed(formats: tuple[str, ...], count: int, seed: int) -> dict:
    """The report of a process of its own, whose peak memory is that of these files alone."""
    program = f"from tests.data.test_fuzz import report\nreport({formats!r}, {count}, {seed})"
    run = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    found = json.loads(run.stdout)
    print(f"{count} mutated {', '.join(formats)}: {found}")
    assert sum(found["outcomes"].values()) == count and found["outcomes"]["read"] > count / 20 and len(found["outcomes"]) >= 4
    assert found["grown_mebibytes"] < MEBIBYTES and found["slowest_seconds"] < 10
    return found


def test_mutated_files_are_pictures_or_clear_errors():
    fuzzed(ASKED, 5000, seed=0)
