"""Measures the memory over an epoch of a large image folder and draws docs/images/input_memory.png.

    python -m benchmarks.input_memory --data FOLDER_OR_ZIP [--files 20000]

Copies photographs of the given folder to a temporary folder until it has so many JPEG files. Then it reads one epoch of random crops in
batches of 64 with 8 threads and records the resident memory of the process after every batch.
"""

import os
import resource
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

import jaxvision as jv
from benchmarks import command, side_by_side

BATCH, THREADS, SIZE = 64, 8, 224


def resident() -> float:
    """Resident memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def copied(source, count: int, folder: Path) -> None:
    """Write ``count`` JPEG files of the source's images in four classes. Each image is encoded once and then copied."""
    from PIL import Image

    distinct = min(len(source), 500)
    for number in range(count):
        path = folder / f"class{number % 4}" / f"{number:06d}.jpg"
        path.parent.mkdir(exist_ok=True)
        if number < distinct:
            picture = Image.fromarray(source[number]["image"])
            picture.resize((500, 375)).save(path, quality=90)
        else:
            original = number % distinct
            shutil.copyfile(folder / f"class{original % 4}" / f"{original:06d}.jpg", path)


def draw(found: list[float], path: Path, title: str) -> None:
    """Draw the memory in MiB after each batch."""

    def paint(axes) -> None:
        axes.plot(np.arange(1, len(found) + 1) * BATCH, found, color="#1f5fa8")
        axes.set(xlabel="examples read", ylabel="resident memory (MiB)", xlim=(0, None), ylim=(0, 1.15 * max(found)))
        axes.grid(alpha=0.3)

    side_by_side.picture(paint, path, size=(6, 3), title=title)


def main() -> None:
    """Read an epoch, print the results and draw them."""
    parser = command.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder or .zip with train/ and a sub-folder for each class")
    parser.add_argument("--files", type=command.positive, default=20_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        copied(jv.data.image_folder(arguments.data, "train"), arguments.files, Path(folder))
        empty = resident()
        source = jv.data.random_crops(jv.data.image_folder(folder), SIZE)
        built, start, found = resident(), time.perf_counter(), []
        for _ in jv.data.batches(source, BATCH, steps=-(-len(source) // BATCH), threads=THREADS):
            found.append(resident())
        seconds = time.perf_counter() - start
    tenth = max(1, len(found) // 10)
    early, late = np.median(found[tenth : 2 * tenth]), np.median(found[-tenth:])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{arguments.files} files of 500 x 375 in {seconds:.0f} s: {empty:.0f} MiB before, {built:.0f} with the source built,")
    print(f"{early:.0f} in the second tenth of the epoch, {late:.0f} in the last (median), at most {max(found):.0f}; peak {peak:.0f} MiB")
    path = Path(__file__).parents[1] / "docs" / "images" / "input_memory.png"
    draw(found, path, f"{arguments.files:,} files of 500 x 375, batch {BATCH}, {THREADS} threads")


if __name__ == "__main__":
    command.run(main)
