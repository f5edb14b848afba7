"""Any image file to RGB uint8: the photograph manifest, every mode and orientation, masks, parts, and bombs."""

import io
import json
import pickle
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxvision.data import read_image
from jaxvision.data.decoding import BrokenImage, decode, decode_mask, decode_part
from tests.data.test_fuzz import peak
from tests.oracles.pictures import pillow_alone

RANDOM = np.random.default_rng(0)
pytestmark = pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\..*")  # pytest undoes the filter that decoding sets


def encoded(pixels, kind: str, **options) -> bytes:
    file = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(file, kind, **options)
    return file.getvalue()


REASONS = {"gone", "not readable", "empty", "not an image", "truncated", "damaged", "too large", "out of range"}


def smooth(height: int, width: int) -> np.ndarray:
    """A picture [H, W, 3] without sharp edges, which JPEG keeps well."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 17 + phase) + np.cos(y / 23 - phase) + np.sin((x + y) / 31) for phase in range(3)]
    return np.clip(127.5 + 40 * np.stack(waves, -1), 0, 255).astype(np.uint8)


def test_the_photographs_are_read_or_refused_as_their_manifest_says(data_folder):
    folder = data_folder / "photos"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert len(manifest) == 61
    for entry in manifest:
        content = (folder / entry["file"]).read_bytes()
        if not entry["pillow_decodes"]:
            with pytest.raises(BrokenImage, match=entry["file"]) as error:
                decode(content, entry["file"])
            assert error.value.reason in REASONS and "\n" not in str(error.value)
            continue
        image = decode(content, entry["file"])
        assert image.dtype == np.uint8 and image.shape[2] == 3
        sides = entry["size"] if entry["exif_orientation"] >= 5 else entry["size"][::-1]
        assert list(image.shape[:2]) == sides or entry["file"].startswith("exif_orient"), entry["file"]
        np.testing.assert_array_equal(image, pillow_alone(content), err_msg=entry["file"])


def test_parts_of_the_photographs_are_those_of_the_whole(data_folder):
    for entry in json.loads((data_folder / "photos" / "manifest.json").read_text()):
        if entry["pillow_decodes"]:
            content = (data_folder / "photos" / entry["file"]).read_bytes()
            whole = decode(content, entry["file"])
            height, width = whole.shape[:2]
            tall, wide = height * 2 // 3 or 1, width // 2 or 1
            top, left = height - tall, width // 5
            size = (max(1, tall * 3 // 4), max(1, wide * 3 // 4))  # larger than half: no JPEG is read at reduced scale
            part = decode_part(content, "", lambda h, w, place=(top, left, tall, wide), size=size: (place, size))
            cut = Image.fromarray(whole[top : top + tall, left : left + wide])
            expected = np.asarray(cut.resize(size[::-1], Image.Resampling.BILINEAR)).astype(int)
            assert np.abs(part - expected).max() <= (entry["exif_orientation"] != 1), entry["file"]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_all_eight_orientations_show_one_picture(kind):
    upright = smooth(42, 64)
    undo = (None, "FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_90", "TRANSVERSE", "ROTATE_270")
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    for number, method in enumerate(undo, 1):
        stored = Image.fromarray(upright)
        stored = stored.transpose(getattr(Image.Transpose, method)) if method else stored
        exif = Image.Exif()
        exif[0x0112] = number
        content = encoded(stored, kind, exif=exif, **options)
        tolerance = 4 if kind == "JPEG" else 0
        assert np.abs(decode(content, "").astype(int) - upright).max() <= tolerance, number
        part = decode_part(content, "", lambda height, width: ((5, 20, 30, 24), (15, 24)))
        expected = np.asarray(Image.fromarray(upright[5:35, 20:44]).resize((24, 15), Image.Resampling.BILINEAR)).astype(int)
        assert np.abs(part - expected).max() <= tolerance + 1, number


@pytest.mark.parametrize("scale", [2, 4, 8])
@pytest.mark.parametrize("orientation", [1, 6, 3])
def test_a_jpeg_at_reduced_scale_is_nearly_the_part_of_the_whole(scale, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(smooth(403, 601), "JPEG", quality=95, exif=exif)
    whole = decode(content, "")
    rectangle = (37, 51, 40 * scale + 3, 43 * scale + 1)
    seen = []

    def choose(height, width):
        seen.append((height, width))
        return rectangle, (40, 43)

    part = decode_part(content, "", choose)
    top, left, tall, wide = rectangle
    expected = np.asarray(Image.fromarray(whole[top : top + tall, left : left + wide]).resize((43, 40), Image.Resampling.BILINEAR))
    assert seen == [whole.shape[:2]] and part.shape == (40, 43, 3)
    error = np.abs(part.astype(int) - expected)
    assert error.mean() < 1 and error.max() <= 6


def test_photographs_at_reduced_scale_are_nearly_the_whole(data_folder):
    for name, most in (("skimage__retina", 0.5), ("exif_orient__Landscape_6", 1.5), ("exif_orient__Portrait_5", 1.5)):
        content = (data_folder / "photos" / f"{name}.jpg").read_bytes()
        whole = decode(content, name)
        size = tuple(side * 256 // min(whole.shape[:2]) for side in whole.shape[:2])
        part = decode_part(content, name, lambda height, width, size=size: ((0, 0, height, width), size))
        error = np.abs(part - np.asarray(Image.fromarray(whole).resize(size[::-1], Image.Resampling.BILINEAR)).astype(int))
        print(f"{name}: mean {error.mean():.2f} of 255, 99 of 100 within {np.percentile(error, 99):.0f}, largest {error.max()}")
        assert error.mean() < most and np.percentile(error, 99) < 12


def test_reduced_scale_is_really_used(monkeypatch):
    from PIL import JpegImagePlugin

    drafts, plain = [], JpegImagePlugin.JpegImageFile.draft
    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "draft", lambda self, *a: drafts.append(plain(self, *a)) or drafts[-1])
    content = encoded(smooth(320, 480), "JPEG")
    for size, factor in ((320, None), (161, None), (160, 2), (81, 2), (80, 4), (40, 8), (5, 8)):
        drafts.clear()
        decode_part(content, "", lambda height, width, size=size: ((0, 0, 320, 480), (size, size)))
        assert [round(480 / box[2]) for _, box in drafts] == ([factor] if factor else []), size


def of_mode(mode: str) -> tuple[bytes, np.ndarray]:
    """A file of the given kind of pixels and what it should look like on (10, 200, 30)."""
    gray = RANDOM.integers(0, 256, (9, 7), np.uint8)
    color = RANDOM.integers(0, 256, (9, 7, 3), np.uint8)
    alpha = RANDOM.integers(0, 256, (9, 7), np.uint8)
    ground = np.float64([10, 200, 30])
    blended = lambda front, share: np.floor((front * share + ground * (255 - share)) / 255 + 0.5).astype(np.uint8)  # noqa: E731
    three = np.repeat(gray[..., None], 3, -1)
    wide = RANDOM.integers(0, 65536, (9, 7)).astype(np.uint16)
    wide_as_gray = np.repeat(np.floor(wide / 257 + 0.5).astype(np.uint8)[..., None], 3, -1)
    floats = RANDOM.random((9, 7)).astype(np.float32)
    floats_as_gray = np.repeat(np.rint(floats * np.float32(255)).astype(np.uint8)[..., None], 3, -1)
    keyed = blended(three.astype(float), np.where(three == gray[0, 0], 0.0, 255.0))
    table = {
        "gray": lambda: (encoded(gray, "PNG"), three),
        "gray and alpha": lambda: (encoded(np.stack([gray, alpha], -1), "PNG"), blended(three.astype(float), alpha[..., None])),
        "alpha": lambda: (encoded(np.dstack([color, alpha]), "PNG"), blended(color.astype(float), alpha[..., None])),
        "alpha, WebP": lambda: (
            encoded(np.dstack([color, alpha]), "WEBP", lossless=True, exact=True),
            blended(color.astype(float), alpha[..., None]),
        ),
        "transparent gray": lambda: (encoded(gray, "PNG", transparency=int(gray[0, 0])), keyed),
        "16-bit gray": lambda: (encoded(wide, "PNG"), wide_as_gray),
        "16-bit gray, TIFF": lambda: (encoded(wide, "TIFF"), wide_as_gray),
        "16-bit gray, transparent": lambda: (
            encoded(wide, "PNG", transparency=int(wide[2, 2])),
            np.where((wide == wide[2, 2])[..., None], ground.astype(np.uint8), wide_as_gray),
        ),
        "8-bit values in 16": lambda: (encoded(gray.astype(np.uint16), "TIFF"), three),
        "32-bit gray": lambda: (encoded(wide.astype(np.int32), "TIFF"), wide_as_gray),
        "floats to 1": lambda: (encoded(floats, "TIFF"), floats_as_gray),
        "floats to 255": lambda: (encoded(gray.astype(np.float32), "TIFF"), three),
        "two levels": lambda: (encoded(Image.fromarray(gray > 99), "PNG"), np.repeat(np.where(gray > 99, 255, 0)[..., None], 3, -1)),
        "two levels, PBM": lambda: (encoded(Image.fromarray(gray > 99), "PPM"), np.repeat(np.where(gray > 99, 255, 0)[..., None], 3, -1)),
        "BMP": lambda: (encoded(color, "BMP"), color),
        "PPM": lambda: (encoded(color, "PPM"), color),
        "JPEG 2000": lambda: (encoded(color, "JPEG2000"), color),
    }
    return table[mode]()


MODES = (
    *("gray", "gray and alpha", "alpha", "alpha, WebP", "transparent gray", "16-bit gray", "16-bit gray, TIFF", "16-bit gray, transparent"),
    *("8-bit values in 16", "32-bit gray", "floats to 1", "floats to 255", "two levels", "two levels, PBM", "BMP", "PPM", "JPEG 2000"),
)


@pytest.mark.parametrize("mode", MODES)
def test_every_kind_of_pixel(mode):
    content, expected = of_mode(mode)
    np.testing.assert_array_equal(decode(content, "", background=(10, 200, 30)), expected)
    part = decode_part(content, "", lambda height, width: ((2, 1, 4, 5), (4, 5)), background=(10, 200, 30))
    np.testing.assert_array_equal(part, expected[2:6, 1:6])


def test_palettes_cmyk_frames_and_profiles():
    color = smooth(12, 10)
    palette = Image.fromarray(color).quantize(16)
    seen = np.asarray(palette.convert("RGB"))
    np.testing.assert_array_equal(decode(encoded(palette, "PNG"), ""), seen)
    clear = decode(encoded(palette, "PNG", transparency=int(np.asarray(palette)[0, 0])), "", background=(1, 2, 3))
    here = np.asarray(palette) == np.asarray(palette)[0, 0]
    np.testing.assert_array_equal(clear, np.where(here[..., None], (1, 2, 3), seen))
    cmyk = Image.fromarray(color).convert("CMYK")
    np.testing.assert_array_equal(decode(encoded(cmyk, "TIFF"), ""), np.asarray(cmyk.convert("RGB")))
    first = Image.fromarray(color[..., 0])
    frames = encoded(first, "GIF", save_all=True, append_images=[Image.fromarray(255 - color[..., 0])])
    np.testing.assert_array_equal(decode(frames, "")[..., 1], np.asarray(first))
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    np.testing.assert_array_equal(decode(encoded(color, "PNG", icc_profile=profile), ""), color)


def test_formats_are_recognised_by_content_and_programs_are_never_run():
    png = encoded(smooth(5, 5), "PNG")
    np.testing.assert_array_equal(decode(png, "photo.jpg"), smooth(5, 5))
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    for content in (script, b"%PDF-1.4\n", b"hello", bytes(100)):
        with pytest.raises(BrokenImage, match="a.jpg") as error:
            decode(content, "a.jpg")
        assert error.value.reason == "not an image" and error.value.path == "a.jpg"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "PPM", "TIFF"])
def test_truncated_files_are_recognised(kind):
    content = encoded(RANDOM.integers(0, 256, (40, 40, 3), np.uint8), kind)
    if kind != "TIFF":  # whose directory may lie at its end
        with pytest.raises(BrokenImage, match="^photo: ") as error:
            decode(content[: len(content) * 2 // 3], "photo")
        assert error.value.reason == "truncated"
    with pytest.raises(BrokenImage, match="^photo"):
        decode(b"", "photo")
    for length in range(1, 60):
        with pytest.raises(BrokenImage):
            decode(content[:length], "photo")


def test_values_out_of_range_are_refused():
    for wrong in ([[-1.0, 0.5]], [[0.0, np.nan]], [[0.0, 1e6]]):
        with pytest.raises(BrokenImage, match="^heights.tif: ") as error:
            decode(encoded(np.array(wrong, np.float32), "TIFF"), "heights.tif")
        assert error.value.reason == "out of range"


def test_damaged_exif_does_not_lose_the_picture():
    content = encoded(smooth(8, 8), "JPEG", exif=b"Exif\0\0garbage that is no TIFF header")
    assert decode(content, "").shape == (8, 8, 3)


def test_errors_of_the_caller_are_not_broken_images():
    def choose(height, width):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        decode_part(encoded(smooth(8, 8), "PNG"), "", choose)


def test_masks_keep_their_numbers():
    numbers = RANDOM.integers(0, 12, (6, 8)).astype(np.uint8)
    numbers[0, 0] = 255
    palette = Image.fromarray(numbers)
    palette.putpalette(RANDOM.integers(0, 256, 768, np.uint8).tobytes())
    for content in (encoded(numbers, "PNG"), encoded(palette, "PNG"), encoded(numbers, "BMP"), encoded(numbers.astype(np.uint16), "PNG")):
        np.testing.assert_array_equal(decode_mask(content, ""), numbers)
    np.testing.assert_array_equal(decode_mask(gray_png(numbers % 4, 2), ""), numbers % 4)
    np.testing.assert_array_equal(decode_mask(gray_png(numbers % 16, 4), ""), numbers % 16)
    np.testing.assert_array_equal(decode_mask(encoded(Image.fromarray(numbers > 5), "PNG"), ""), numbers > 5)
    with pytest.raises(BrokenImage, match="^mask.png: "):
        decode_mask(encoded(smooth(4, 4), "PNG"), "mask.png")


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def gray_png(values: np.ndarray, bits: int) -> bytes:
    """A gray PNG of 2 or 4 bits a pixel, written by hand."""
    height, width = values.shape
    bit_rows = (values[..., None] >> np.arange(bits - 1, -1, -1)) & 1  # [H, W, bits]
    rows = np.packbits(bit_rows.reshape(height, -1), axis=1)
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def bombs() -> dict[str, bytes]:
    """Small files whose headers claim more than 64 million pixels."""
    small = RANDOM.integers(0, 256, (8, 8, 3), np.uint8)
    jpeg = bytearray(encoded(small, "JPEG"))
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = struct.pack(">HH", 60000, 60000)
    webp = bytearray(encoded(small, "WEBP"))
    webp[26:30] = struct.pack("<HH", 16383, 16383)
    lossless = bytearray(encoded(small, "WEBP", lossless=True))
    lossless[21:25] = struct.pack("<I", 16382 | 16382 << 14)
    extended = b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff\x2f\0" * 2 + bytes(60)
    gif = bytearray(encoded(small, "GIF"))
    wide_frame = bytearray(gif)
    frame = gif.index(b",", 13 + (3 << (gif[10] & 7) + 1)) + 5
    wide_frame[frame : frame + 4] = struct.pack("<HH", 65535, 65535)
    gif[6:10] = struct.pack("<HH", 65535, 65535)
    bmp = bytearray(encoded(small, "BMP"))
    bmp[18:26] = struct.pack("<ii", 30000, 30000)
    tiff = bytearray(encoded(small, "TIFF"))
    for tag in (256, 257):
        entry = tiff.index(struct.pack("<HH", tag, 4)) if struct.pack("<HH", tag, 4) in tiff else tiff.index(struct.pack("<HH", tag, 3))
        tiff[entry : entry + 12] = struct.pack("<HHII", tag, 4, 1, 40000)
    jp2 = bytearray(encoded(small, "JPEG2000"))
    at = jp2.index(b"ihdr") + 4
    jp2[at : at + 8] = struct.pack(">II", 60000, 60000)
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9)))
    found = {"JPEG": jpeg, "WebP": webp, "WebP lossless": lossless, "WebP extended": extended, "GIF": gif, "GIF frame": wide_frame}
    found |= {"BMP": bmp, "TIFF": tiff, "JPEG 2000": jp2, "PNG": png, "PPM": b"P6 50000 50000 255\n" + bytes(9)}
    return {name: bytes(content) for name, content in found.items()}


@pytest.mark.parametrize("kind", sorted(bombs()))
def test_bombs_are_refused(kind):
    content = bombs()[kind]
    for read in (decode, decode_mask, lambda *file: decode_part(*file, lambda height, width: ((0, 0, 8, 8), (8, 8)))):
        with pytest.raises(BrokenImage, match=f"^{kind}: ") as error:
            read(content, kind)
        assert error.value.reason == "too large"


def report_of_bombs() -> None:
    """Prints, as JSON, by how much the memory of this process grew at the peak while it refused each of the bombs, in MiB."""
    decode(encoded(smooth(8, 8), "PNG"), "")  # what is loaded when it is first used is no part of it
    found = {}
    for kind, content in bombs().items():
        before = peak()
        with pytest.raises(BrokenImage):
            decode(content, kind)
        found[kind] = peak() - before
    print(json.dumps(found))


def test_bombs_are_refused_before_there_is_room_for_them():
    program = "from tests.data.test_decoding import report_of_bombs\nreport_of_bombs()"
    run = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    found = json.loads(run.stdout)
    print({kind: f"{grown:.2f} MiB" for kind, grown in found.items()})
    assert max(found.values()) < 4, found


def test_the_limit_can_be_set_and_pillow_keeps_its_own():
    content = encoded(np.zeros((20, 30), np.uint8), "PNG")
    assert decode(content, "", max_pixels=600).shape == (20, 30, 3)
    with pytest.raises(BrokenImage, match="^a: "):
        decode(content, "a", max_pixels=599)
    for wrong in (0, 2 * Image.MAX_IMAGE_PIXELS + 1):
        with pytest.raises(ValueError, match=f"^max_pixels: .*{wrong}"):
            read_image("a.png", max_pixels=wrong)
    for wrong in ((0, 0), (0, 0, 256), (0.5, 0, 0)):
        with pytest.raises(ValueError, match="^background"):
            read_image("a.png", background=wrong)


def test_a_broken_image_is_one_line_and_can_be_pickled():
    error = BrokenImage("a\nb\udc80.jpg", "damaged", "two\nlines")
    assert str(error).startswith(r"a\nb\udc80.jpg: ") and "two lines" in str(error) and str(pickle.loads(pickle.dumps(error))) == str(error)
    assert "no frame" in str(BrokenImage("frame 3", "no frame", "of 2"))
    assert isinstance(error, ValueError)


def test_pillow_prints_no_warnings():
    tag = struct.pack("<HHII", 0x0112, 3, 500, 1 << 20)  # more values than the file has
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0" + tag + bytes(4)
    content = encoded(smooth(8, 8), "JPEG", exif=exif)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        Image.open(io.BytesIO(content)).getexif()
    assert heard, "this file should make Pillow warn"
    program = f"from jaxvision.data.decoding import decode\nfor _ in range(3): decode({content!r}, '')"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stderr == "" and found.stdout == ""
