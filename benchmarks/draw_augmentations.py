"""Draws docs/images/augmentations.png: the augmentations of contrastive learning on one photograph.

    python -m benchmarks.draw_augmentations --image astronaut.png

The panels are those of SimCLR's figure 4 (Chen et al., 2020). The picture in the repository shows Eileen Collins, photographed by NASA
(public domain), a sample image of scikit-image.
"""

import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

import jaxvision as jv
from benchmarks import command

SIDE = 164  # pixels of a panel in the figure
COLORS = 160  # of the palette: a third of the file size with hardly a visible difference
CROP = jv.augment.random_resized_crop(SIDE, scale=(0.25, 0.4))
ON_THE_WHOLE = {  # name: operation on the central square of the photograph, and a seed with a clearly visible effect
    "crop and resize": (CROP, 3),
    "crop, resize, flip": (jv.augment.chain(CROP, jv.augment.random_horizontal_flip(probability=1.0)), 8),
}
ON_THE_PANEL = {  # name: operation on the panel "original", and the seed
    "color drop": (jv.augment.grayscale(), 0),
    "color jitter": (jv.augment.color_jitter(0.8, 0.8, 0.8, 0.2), 1),
    "rotation": (jv.augment.quarter_turns((1, 3)), 3),
    "cutout": (jv.augment.cutout(62, value=0.5), 5),
    "gaussian noise": (jv.augment.gaussian_noise(0.1), 0),
    "gaussian blur": (jv.augment.gaussian_blur(3.0), 0),
    "sobel (x 4)": (
        jv.augment.chain(jv.augment.sobel(), lambda key, image: 4 * image),
        0,
    ),  # neighbouring pixels differ little
}


def panels(photo: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The central square of a photograph [H, W, 3] uint8 as [SIDE, SIDE, 3] floats, and the result of each operation by name."""
    whole = jv.augment.center_crop(min(photo.shape[:2]))(None, jnp.asarray(photo, jnp.float32) / 255)
    original = jv.augment.resize(SIDE)(None, whole)
    made = {
        name: np.asarray(jax.jit(operation)(jax.random.key(seed), image))
        for image, operations in ((whole, ON_THE_WHOLE), (original, ON_THE_PANEL))
        for name, (operation, seed) in operations.items()
    }
    return np.asarray(original), made


def draw(photo: np.ndarray, path: Path) -> None:
    """Write the figure as a PNG with a small palette."""
    with tempfile.TemporaryDirectory() as folder:
        jv.plots.augmentations(*panels(photo), Path(folder) / "full.png")
        full = Image.open(Path(folder) / "full.png").convert("RGB")
    path.parent.mkdir(parents=True, exist_ok=True)
    full.quantize(COLORS, kmeans=5, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--image", type=Path, required=True, help="a photograph in a format that Pillow reads")
    parser.add_argument("--out", type=Path, default=Path("docs/images/augmentations.png"))
    options = parser.parse_args()
    draw(np.asarray(Image.open(options.image).convert("RGB")), options.out)
    print(f"{options.out}: {options.out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    command.run(main)
