"""Reads a folder of unusual photographs and compares their pixels with an independent program with Pillow. Writes docs/photos.md.

    python -m benchmarks.photo_table --data FOLDER

FOLDER holds the files and manifest.json, a list of {"file", "format", "mode", "size", "exif_orientation", "pillow_decodes"}.
"""

import json
from pathlib import Path

import numpy as np
import PIL

import jaxvision as jv
from benchmarks import command
from tests.oracles.pictures import pillow_alone


def row(folder: Path, entry: dict) -> tuple[bool, str]:
    """Whether a file was read or refused as the manifest expects, and its row of the table."""
    path = folder / entry["file"]
    try:
        image = jv.data.read_image(path)
    except jv.data.BrokenImage as error:
        outcome, right = f"refused: {error.reason}", not entry["pillow_decodes"]
    else:
        equal = np.array_equal(image, pillow_alone(path.read_bytes()))
        outcome = f"read, {image.shape[1]} x {image.shape[0]}, {'equal' if equal else 'NOT EQUAL'}"
        right = entry["pillow_decodes"] and equal
    kind = ", ".join(str(entry[name]) for name in ("format", "mode") if entry.get(name))
    turned = entry.get("exif_orientation") or 1
    return right, f"| {entry['file']} | {kind}{f', orientation {turned}' if turned != 1 else ''} | {outcome} |"


def main() -> None:
    """Read all files and write the table."""
    parser = command.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True)
    folder = parser.parse_args().data
    found = [row(folder, entry) for entry in json.loads((folder / "manifest.json").read_text())]
    lines = "\n".join(line for _, line in found)
    text = f"""# Unusual image files

{sum(right for right, _ in found)} of {len(found)} files gave the expected result. A readable file equals, pixel for pixel, an independent
decoding with Pillow {PIL.__version__}: Pillow's own rotation by EXIF and conversion to RGB, transparency on white, 16-bit values scaled in
float64. A damaged file raises `BrokenImage`.

| file | kind | outcome |
|---|---|---|
{lines}

Written by `python -m benchmarks.photo_table --data FOLDER`.
"""
    path = Path(__file__).parents[1] / "docs" / "photos.md"
    path.write_text(text, encoding="utf-8")
    print(f"{text}\nwritten to {path}")


if __name__ == "__main__":
    command.run(main)
