"""What a pretrained encoder is worth when labels are few: fine-tuned and from scratch, with 1 % and 10 % of the labels.

    python -m experiments.few_labels --run RUN_FOLDER [--data OTHER_DATA]                           # all four, then the table
    python -m experiments.few_labels --run RUN_FOLDER --only 0.01 [--scratch] --workdir DIR    # one of them

All four leave their run folders under one, with the table in its summary.json (Chen et al., 2020, section 6: semi-supervised learning).
Another protocol than `jv.evaluate.few_labels`, which fits linear layers on frozen features. One seed a command.
Expected: not run here to its end, only its smoke form was.
"""

import json
from pathlib import Path

import jaxvision as jv
from experiments import fine_tune, run_each

AMOUNTS = (0.01, 0.1)


def config(
    *,
    run: Path | None = None,
    data: Path | None = None,
    only: float = 0.1,
    scratch: bool = False,
    epochs: int = 100,
    batch_size: int = 64,
    learning_rate: float = 2e-3,
    flip: bool = True,
    seed: int = 0,
    smoke: bool = False,
) -> jv.train.Experiment:
    """Train a classifier on a part of the labels; without --only with each part, pretrained and from scratch.

    Args:
        run: Run folder of the pretrained encoder.
        data: Labelled images; by default those of the run.
        only: Share of every class's labels.
        scratch: Begin anew with the same network, for comparison.
        epochs: Passes over the labelled images.
        batch_size: Images an update, over all devices.
        learning_rate: Peak rate of AdamW for a batch of 256; it is scaled with the batch.
        flip: Whether images are mirrored half the time; not for digits.
        seed: Decides which labels are kept, the head's initialisation, data order and augmentation.
        smoke: A few steps on synthetic images with a small random encoder, to see that everything works.
    """
    options = {"run": run, "data": data, "labels": only, "scratch": scratch, "epochs": epochs, "batch_size": batch_size}
    return fine_tune.config(**options, learning_rate=learning_rate, flip=flip, seed=seed, smoke=smoke)


def tabulate(workdir: Path, options: list[str]) -> None:
    """Put the figures of the four runs under ``workdir`` into its summary.json, and print them."""
    top1 = {name: json.loads((workdir / name / "summary.json").read_text())["top1"] for name in RUNS}
    for name, value in top1.items():
        print(f"{name}: test top1 {value:.2%}")
    (workdir / "summary.json").write_text(json.dumps(top1, indent=2) + "\n")


RUNS = {
    f"{amount:g}-{'scratch' if scratch else 'pretrained'}": ["--only", str(amount), *(["--scratch"] if scratch else [])]
    for amount in AMOUNTS
    for scratch in (False, True)
}

if __name__ == "__main__":
    run_each(config, RUNS, "only", tabulate)
