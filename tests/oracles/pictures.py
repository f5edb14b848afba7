"""An image file as Pillow alone would show it, the truth that decoding is held to."""

import io

import numpy as np
from PIL import Image, ImageOps

WHITE = np.float64([255, 255, 255])


def pillow_alone(content: bytes) -> np.ndarray:
    """The picture by Pillow's own turn and conversion, transparency laid on white in float64."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        values = np.asarray(image).astype(np.float64)
        gray = np.floor(values / 257 + 0.5) if values.max() > 255 else values
        return np.repeat(gray[..., None], 3, -1).astype(np.uint8)
    if "transparency" not in image.info and image.mode not in ("RGBA", "LA", "PA"):
        return np.asarray(image.convert("RGB"))
    rgba = np.asarray(image.convert("RGBA")).astype(np.float64)
    color, alpha = rgba[..., :3], rgba[..., 3:]
    return np.floor((color * alpha + WHITE * (255 - alpha)) / 255 + 0.5).astype(np.uint8)
