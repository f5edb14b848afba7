"""Deep plain networks against residual networks: plain-20, plain-56, ResNet-20, ResNet-56 on CIFAR-10 (He et al., 2015, section 4.2).

    python -m experiments.plain_vs_residual_cifar10 --data FOLDER_OR_NPZ [--epochs 164]                   # all four, and a plot
    python -m experiments.plain_vs_residual_cifar10 --data FOLDER_OR_NPZ --model plain56 --workdir DIR    # one of them

All four run folders lie in one folder, with a plot of their errors in its plots/.
The paper's recipe: momentum 0.9, rate 0.1, a tenth of it after half and three quarters of the run, weight decay 1e-4, crops and flips.
Expected: the paper's figures 6 (plain-56 has the higher training error, ResNet-56 the lower one).
docs/results.md has two epochs; it was not run here to its end.
"""

import json
from pathlib import Path
from typing import Literal

import jaxvision as jv
from experiments import cifar10, run_each

NETWORKS = ("plain20", "plain56", "resnet20", "resnet56")


def config(
    *,
    data: Path | None = None,
    model: Literal["plain20", "plain56", "resnet20", "resnet56"] = "resnet56",
    epochs: int = 164,
    batch_size: int = 128,
    learning_rate: float = 0.1,
    weight_decay: float = 1e-4,
    dtype: str = "float32",
    seed: int = 0,
    smoke: bool = False,
) -> jv.train.Experiment:
    """Train a network with or without shortcuts; without --model each of the four in turn.

    Args:
        data: CIFAR-10 folder or archive, or an .npz file.
        model: The network.
        epochs: Passes over the training images; 164 are the paper's 64,000 updates.
        batch_size: Images in a step, over all devices.
        learning_rate: Of SGD with momentum 0.9; a tenth of it from half of the run on, a hundredth in the last quarter.
        weight_decay: Added to the gradient of kernels, not of biases and norms.
        dtype: Compute type, float32 or bfloat16; parameters stay float32.
        seed: Decides initialization, data order and augmentation.
        smoke: A few steps on synthetic images, to see that everything works.
    """
    train, test = cifar10(data, smoke=smoke)
    if smoke:
        epochs, batch_size, learning_rate = 1, 16, 0.01
    network = jv.create_model(model, num_classes=len(train.classes), dtype=dtype)
    if smoke:
        network = network.clone(depths=(1, 1, 1))
    steps = jv.train.total_steps(train, epochs=epochs, batch_size=batch_size)
    rate = jv.train.step_decay(learning_rate, (steps // 2, 3 * steps // 4))
    return jv.train.Experiment(
        network,
        jv.objectives.supervised(network),
        jv.train.momentum(rate, weight_decay=weight_decay),
        train,
        test=test,
        epochs=epochs,
        batch_size=batch_size,
        augment=jv.augment.each(jv.augment.cifar_train()),
        recipe=jv.augment.cifar_eval(),
        seed=seed,
    )


def run_options(experiment: jv.train.Experiment, *, model: str, **_) -> jv.train.RunOptions:
    """The title names the network."""
    return jv.train.RunOptions(title=f"{model} on CIFAR-10")


def compare(workdir: Path, options: list[str]) -> None:
    """Write the errors of the four runs in ``workdir`` to its summary.json and plots/errors.png, and print them."""
    rows = {name: [json.loads(line) for line in (workdir / name / "metrics.jsonl").read_text().splitlines()] for name in NETWORKS}
    summary = {}
    for name, found in rows.items():
        last = next(row for row in reversed(found) if row["split"] == "train_epoch")
        summary[name] = {"train_top1": last["top1"], "top1": json.loads((workdir / name / "summary.json").read_text())["top1"]}
        print(f"{name}: training error {1 - summary[name]['train_top1']:.2%}, test error {1 - summary[name]['top1']:.2%}")
    (workdir / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    jv.plots.comparison(rows, workdir / "plots" / "errors.png")


if __name__ == "__main__":
    run_each(config, {name: ["--model", name] for name in NETWORKS}, "model", compare, options=run_options)
