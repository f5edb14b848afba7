"""The collapse guard on toy runs: a run for each collapse that it can report, and healthy runs of 1,000 steps. Writes docs/collapse.md.

    python -m benchmarks.collapse_table            # writes docs/collapse.md

Two convolutions, or a small ViT, on the digits of the package at 8 x 8 pixels, batches of 32, two views an image; on one CPU device.
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
## Limits

The guard reads metrics, not images.

* A DINO run whose student copies a sharp teacher almost without error (a loss below 2 % of ln K) has the metrics of one dominating
  prototype, and is reported.
* A contrastive loss at a temperature far above 0.5 is near chance by construction, and is reported.
* DINO starts with a loss near ln K. "Uniform output" differs from this start only by the entropy of the teacher. In the healthy runs above
  the entropy stayed at least twice as far from ln K as the threshold of 0.02 % (the nearest was 0.046 %, at a temperature of 0.04). A
  teacher temperature that is only slightly too high is therefore reported late: at step 161 for 0.2, and at step 193 for 0.1, which is the
  temperature of the student (the same toy run, seed 0).
"""


class Encoder(nn.Module):
    """Two strided convolutions and a global mean. Without normalization all units can become 0."""

    num_classes: int = 0
    bias: float = 0.0  # initial bias of the units

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
    """A run and the first finding that is expected, or None."""

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
    "dino_slow": Case("dino", "healthy, a teacher temperature of 0.04: the loss stays near ln K for a long time", None),
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
    """Two views of an image: shifted by at most one pixel, with a little noise, normalized."""
    crop, noise = jv.augment.random_crop(SIZE, padding=1), jv.augment.gaussian_noise(0.02)
    draw = jv.augment.chain(crop, noise, jv.augment.normalize((0.3,), (0.35,)))
    return jv.augment.views(draw, draw)


def metrics_of(case: Case, steps: int, *, seed: int = 0) -> Iterator[dict[str, float]]:
    """The metrics of each step of a toy run."""
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
    """The findings of the guard for a toy run, and the metrics of its steps."""
    watch, findings, rows = jv.evaluate.guard_init(), [], []
    for number, metrics in enumerate(metrics_of(case, steps, seed=seed), 1):
        watch, found = jv.evaluate.guard(watch, metrics, number)
        findings += found
        rows.append(metrics)
    return findings, rows


def _metrics_text(rows: list[dict[str, float]]) -> str:
    last = rows[-1]
    shown = [name for name in ("loss", "chance_loss", "uniform_loss", "teacher_entropy", "teacher_distance", "rank") if name in last]
    return ", ".join(f"{name.replace('_', ' ')} {last[name]:.4g}" for name in shown)


def _findings_text(first: list) -> str:
    """The first finding (or None) of each seed as text: each name with its steps."""
    names = dict.fromkeys(finding.name if finding else "nothing" for finding in first)
    steps = {name: [str(finding.step) for finding in first if finding and finding.name == name] for name in names}
    return "; ".join(f"{name}, at step {', '.join(steps[name])}" if steps[name] else name for name in names)


def table(seeds: int, healthy_steps: int) -> list[str]:
    """The rows of the table: each case with each seed."""
    lines = []
    for case in CASES.values():
        steps, first, rows = 50 if case.expected else healthy_steps, [], []
        for seed in range(seeds):
            findings, rows = watched(case, steps, seed=seed)
            first.append(findings[0] if findings else None)
            print(f"{case.method}: {case.what}: {_findings_text(first[-1:])}: {_metrics_text(rows)}", flush=True)
        cells = (case.method, case.what, f"{steps:,}", case.expected or "nothing", _findings_text(first), _metrics_text(rows))
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def document(lines: list[str], seeds: int, seconds: float) -> str:
    """The text of docs/collapse.md."""
    where = f"{platform.processor() or platform.machine()}, CPU, jax {jax.__version__}, {seeds} seeds a row, {seconds:.0f} s in all"
    head = f"""# The collapse guard

While a run trains, `jv.evaluate.guard` reads the metrics of every step. When it finds a known form of collapse, it reports it once: as a
line in the console and as an entry (step, term, name) under `collapse` in `summary.json`. It never stops the run.
`RunOptions(guard=False)` turns it off. The metrics are those of the global batch, so that all processes report the same. A resumed run
starts with a new guard. The docstring of `jv.evaluate.guard` explains each name: the metrics that it depends on, and for how many steps a
condition must hold.

The table has toy runs on the digits of the package at {SIZE} x {SIZE} pixels. The network has two convolutions without normalization, or is
a ViT with two blocks. The optimizer is Adam, with {BATCH} images a step (ln(2N - 1) = {math.log(2 * BATCH - 1):.3f}) and 64 prototypes
(ln K = {math.log(64):.3f}). "Reported" is the first finding of each seed; the metrics are those of the last step of the last seed.
{where}. To repeat the measurement, run
`{COMMAND}`.

| method | run | steps | expected | reported | metrics at the end |
|---|---|---|---|---|---|
"""
    return head + "\n".join(lines) + "\n" + LIMITS


def main() -> None:
    """Run all cases and write the page."""
    parser = command.parser(__doc__)
    parser.add_argument("--seeds", type=command.positive, default=3)
    parser.add_argument("--healthy-steps", type=command.positive, default=1000)
    parser.add_argument("--out", type=Path, default=DOCUMENT)
    options = parser.parse_args()
    start = time.perf_counter()
    lines = table(options.seeds, options.healthy_steps)
    options.out.write_text(document(lines, options.seeds, time.perf_counter() - start), encoding="utf-8")


if __name__ == "__main__":
    command.run(main)
