"""Fine-tuning of a pretrained encoder with 1 % and 10 % of the labels, compared with training from scratch.

    python -m experiments.few_labels --run RUN_FOLDER [--data OTHER_DATA]                      # all runs, three seeds each, and a table
    python -m experiments.few_labels --weights resnet50.pth --model resnet50 --data FOLDER     # the same
    python -m experiments.few_labels --run RUN_FOLDER --only 0.01 [--scratch] --workdir DIR    # one of them

All run folders lie in one folder, with the table in its summary.json (Chen et al., 2020, section 6: semi-supervised learning).
`jv.evaluate.few_labels` is another protocol: it fits linear layers on frozen features.
Expected: docs/results.md has LeNet-5 after DINO on MNIST (with 1 % of the labels 86.9 % top-1
fine-tuned, 73.9 % from scratch, 3 seeds).
"""

import json
import sys
from pathlib import Path
from typing import Any, Literal

import jaxvision as jv
from experiments import fine_tune, run_each, seed_table

AMOUNTS, SEEDS = (0.01, 0.1), (0, 1, 2)


def config(
    *,
    run: Path | None = None,
    key: Literal["student", "teacher"] = "student",
    weights: Path | None = None,
    model: str = "resnet50",
    moments: str = "imagenet",
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
    """Train a classifier on a share of the labels; without --only on each share, pretrained and from scratch.

    Args:
        run: Run folder of the pretrained encoder.
        key: Which encoder of the run: the trained one, or the teacher that DINO and BYOL keep.
        weights: Weight file instead of a run folder.
        model: The network that the weight file is for; options follow a colon: resnet18:stem=cifar.
        moments: Normalization of the network's images: imagenet, none, or MEAN,STD for all channels.
        data: Labelled images; by default those of the run.
        only: Share of each class's labels.
        scratch: Start from random initialization, for comparison.
        epochs: Passes over the labelled images.
        batch_size: Images in a step, over all devices.
        learning_rate: Peak rate of AdamW for a batch of 256; it is scaled with the batch.
        flip: Whether half of the images are flipped horizontally; not for digits.
        seed: Decides which labels are kept, the head's initialization, data order and augmentation.
        smoke: A few steps on synthetic images with a small random encoder, to see that everything works.
    """
    if smoke:
        only = 0.5  # of 64 images
    start: dict[str, Any] = {"run": run, "key": key, "weights": weights, "model": model, "moments": moments, "scratch": scratch}
    options: dict[str, Any] = {
        "data": data,
        "labels": only,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "flip": flip,
    }
    return fine_tune.config(**start, **options, seed=seed, smoke=smoke)


def _runs(given: list[str]) -> dict[str, list[str]]:
    """The runs of a command line, by name: each share of the labels, pretrained and from scratch, with each seed; two for a smoke test."""
    starts = {"pretrained": [], "scratch": ["--scratch"]}
    if "--smoke" in given:
        return {f"0.1-{start}-0": ["--only", "0.1", *option] for start, option in starts.items()}
    return {
        f"{amount:g}-{start}-{seed}": ["--only", str(amount), *option, "--seed", str(seed)]
        for amount in AMOUNTS
        for start, option in starts.items()
        for seed in SEEDS
    }


def tabulate(workdir: Path, given: list[str]) -> None:
    """Write the test accuracies of the runs in ``workdir`` to its summary.json, a list over seeds for each share and start; print them."""
    figures: dict[str, dict[str, list[float]]] = {}
    for name in _runs(given):
        amount, start, _ = name.split("-")
        top1 = json.loads((workdir / name / "summary.json").read_text())["top1"]
        figures.setdefault(f"{float(amount):.0%} of the labels", {}).setdefault(start, []).append(top1)
    (workdir / "summary.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(seed_table(figures))


if __name__ == "__main__":
    run_each(config, _runs(sys.argv), "only", tabulate, options=fine_tune.run_options)
