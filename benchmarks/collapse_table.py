"""The collapse guard on toy runs: every collapse it names, provoked, and healthy runs of 1,000 steps on which it is silent.

    python -m benchmarks.collapse_table            # writes docs/collapse.md

Two convolutions, or a small ViT, on the embedded digits at 8 x 8 pixels, batches of 32, two views an image; on one CPU device.
"""

import math
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from flax import linen as nn

import jaxvision as jv
from benchmarks import command

SIZE, BATCH, RATE = 8, 32, 1e-3
DOCUMENT = Path(__file__).parents[1] / "docs" / "collapse.md"
COMMAND = "python -m benchmarks.collapse_table"


LIMITS = """
What the guard cannot know: it reads figures, not images. A DINO run whose student has learned to copy a sharp teacher almost without
error (a loss below 2 % of ln K) has the figures of one dominating prototype; a contrastive loss at a temperature far above 0.5 is near
chance by construction, and is named. "Uniform output" is told from the plateau on which DINO begins by the teacher's entropy alone: in the
healthy runs above it stayed at least twice as far from ln K as the bound of 0.02 % (the nearest was 0.046 %, at a temperature of 0.04).
The price: a teacher that is only a little too warm is named late. The same toy run with a teacher temperature of 0.2 was named at step 161,
with 0.1, the student's own, at step 193 (seed 0).
"""


class Encoder(nn.Module):
    """Two strided convolutions and the mean over the image: what has no normalisation can die."""

    num_classes: int = 0
    bias: float = 0.0  # that the units start with

    @nn.compact
    def features(self, image, *, train=False, keep=None, mask=None):
        """Pooled [B, 32]."""
        for index, width in enumerate((16, 32)):
            start = nn.initializers.constant(self.bias)
            image = nn.relu(nn.Conv(width, (3, 3), strides=(2, 2), bias_init=start, name=f"stage{index + 1}")(image))
        return jv.typing.Features(image.mean((1, 2)), None, {})

    def __call__(self, image, *, train=False):
        return self.features(image, train=train).pooled


VIT = jv.create_model("vit_tiny_patch16_224", image_size=SIZE, patch_size=2, num_classes=0, pool="mean").clone(width=48, depth=2)


class Case(NamedTuple):
    """A run, and what the guard is to say of it first: a name, or nothing."""

    method: str
    what: str
    expected: str | None
    options: dict = {}
    warmup: int = 0
    encoder: nn.Module = Encoder()


CASES = {
    "simclr": Case("simclr", "healthy", None),
    "byol": Case("byol", "healthy", None),
    "dino": Case("dino", "healthy, a teacher temperature of 0.02", None, {"teacher_temperature": 0.02}),
    "dino_slow": Case("dino", "healthy, a teacher temperature of 0.04: the loss stays near ln K for long", None),
    "dino_warmup": Case("dino", "the same, a warm-up of 200 steps", None, warmup=200),
    "dino_norm": Case("dino", "healthy, BatchNorm in the head", None, {"batch_norm": True}),
    "dino_vit": Case("dino", "healthy, a ViT", None, encoder=VIT),
    "simclr_vit": Case("simclr", "healthy, a ViT", None, encoder=VIT),
    "chance": Case("simclr", "a temperature of 100", "contrastive chance", {"temperature": 100.0}),
    "dead": Case("simclr", "biases that start at -5 leave every unit at 0", "dead features", encoder=Encoder(bias=-5.0)),
    "dead_byol": Case("byol", "biases that start at -5 leave every unit at 0", "dead features", encoder=Encoder(bias=-5.0)),
    "uniform": Case("dino", "no sharpening: a teacher temperature of 1", "uniform output", {"teacher_temperature": 1.0}),
    "one": Case(
        "dino",
        "no centring, a teacher temperature of 0.01",
        "one dimension dominates",
        {"center_momentum": 1.0, "teacher_temperature": 0.01},
    ),
    "identical": Case("dino", "a teacher momentum of 0", "student and teacher identical", {"momentum": 0.0}),
    "identical_byol": Case("byol", "a teacher momentum of 0", "student and teacher identical", {"momentum": 0.0}),
}
_OPTIONS = {
    "simclr": {"projection": 32},
    "byol": {"hidden": 64, "projection": 32, "momentum": 0.99},
    "dino": {"prototypes": 64, "hidden": 64, "bottleneck": 32, "momentum": 0.99},
}


def views():
    """Two views of an image: shifted by at most one pixel, with a little noise, normalised."""
    crop, noise = jv.augment.random_crop(SIZE, padding=1), jv.augment.gaussian_noise(0.02)
    draw = jv.augment.chain(crop, noise, jv.augment.normalize((0.3,), (0.35,)))
    return jv.augment.views(draw, draw)


def metrics_of(case: Case, steps: int, *, seed: int = 0) -> Iterator[dict[str, float]]:
    """The figures of each step of a toy run, as the loop reads them."""
    objective = getattr(jv.objectives, case.method)(case.encoder, **_OPTIONS[case.method] | case.options)
    schedule = jv.train.warmup_cosine(RATE, 1000, warmup=case.warmup) if case.warmup else RATE
    optimizer, augment, key = jv.train.adam(schedule), views(), jax.random.key(seed)
    step = jax.jit(jv.train.make_step(objective, optimizer, augment=augment))
    source, size = jv.data.digits("train", size=SIZE), BATCH
    state = None
    for number in range(steps):
        rows, epochs = jv.data.positions(len(source), number * size, size, seed=seed)
        batch = source.take(rows) | {"index": rows.astype(np.int32), "epoch": epochs.astype(np.int32)}
        if state is None:
            state = jv.train.init(objective, optimizer, batch, key=key, augment=augment)
        state, metrics = step(state, batch, key)
        yield {name: float(value) for name, value in jax.device_get(metrics).items()}


def watched(case: Case, steps: int, *, seed: int = 0) -> tuple[list, list[dict[str, float]]]:
    """What the guard says of a toy run, and the run's figures."""
    watch, findings, rows = jv.evaluate.guard_init(), [], []
    for number, metrics in enumerate(metrics_of(case, steps, seed=seed), 1):
        watch, found = jv.evaluate.guard(watch, metrics, number)
        findings += found
        rows.append(metrics)
    return findings, rows


def _figures(rows: list[dict[str, float]]) -> str:
    last = rows[-1]
    shown = [name for name in ("loss", "chance_loss", "uniform_loss", "teacher_entropy", "teacher_distance", "rank") if name in last]
    return ", ".join(f"{name.replace('_', ' ')} {last[name]:.4g}" for name in shown)


def _said(first: list) -> str:
    """The first finding of every seed, or None, in words: each name with its steps, by seed."""
    names = dict.fromkeys(finding.name if finding else "nothing" for finding in first)
    steps = {name: [str(finding.step) for finding in first if finding and finding.name == name] for name in names}
    return "; ".join(f"{name}, at step {', '.join(steps[name])}" if steps[name] else name for name in names)


def table(seeds: int, healthy_steps: int) -> list[str]:
    """The rows of the table: every case with every seed."""
    lines = []
    for case in CASES.values():
        steps, first, rows = 50 if case.expected else healthy_steps, [], []
        for seed in range(seeds):
            findings, rows = watched(case, steps, seed=seed)
            first.append(findings[0] if findings else None)
            print(f"{case.method}: {case.what}: {_said(first[-1:])}: {_figures(rows)}", flush=True)
        lines.append(f"| {case.method} | {case.what} | {steps:,} | {case.expected or 'nothing'} | {_said(first)} | {_figures(rows)} |")
    return lines


def document(lines: list[str], seeds: int, seconds: float) -> str:
    """The page."""
    where = f"{platform.processor() or platform.machine()}, CPU, jax {jax.__version__}, {seeds} seeds a row, {seconds:.0f} s in all"
    head = f"""# The collapse guard

While a run trains, `jv.evaluate.guard` reads every step's figures and says once what it sees: a line in the console and an entry
under `collapse` in `summary.json` (step, term, name). It never stops the run; `RunOptions(guard=False)` turns it off. Figures are
those of the global batch, so that all processes agree; a resumed run is watched afresh. What each name means, the figures it is read
from and how long they must hold stand in the docstring of `jv.evaluate.guard`.

Toy runs: two convolutions without normalisation, or a ViT of two blocks, on the embedded digits at {SIZE} x {SIZE} pixels, {BATCH} images
a step (ln(2N - 1) = {math.log(2 * BATCH - 1):.3f}), 64 prototypes (ln K = {math.log(64):.3f}), Adam. "Said" is the guard's first word;
figures are those of the last seed's last step. {where}.
Printed again by `{COMMAND}`.

| method | run | steps | to be said | said | figures at the end |
|---|---|---|---|---|---|
"""
    return head + "\n".join(lines) + "\n" + LIMITS


def main() -> None:
    """Run everything and write the page."""
    parser = command.parser(__doc__)
    parser.add_argument("--seeds", type=command.positive, default=3)
    parser.add_argument("--healthy-steps", type=command.positive, default=1000)
    parser.add_argument("--out", type=Path, default=DOCUMENT)
    options = parser.parse_args()
    begun = time.perf_counter()
    lines = table(options.seeds, options.healthy_steps)
    options.out.write_text(document(lines, options.seeds, time.perf_counter() - begun), encoding="utf-8")


if __name__ == "__main__":
    command.run(main)
