"""Accuracy over time of ``experiments.speedrun_cifar10`` compared with the same recipe in PyTorch; epochs alternate.

    python -m benchmarks.speedrun --data FOLDER_OR_NPZ [--epochs 8] [--batch-size 1000]

Both sides start with the same weights and get the same images in the same order; each draws its own flips and shifts. Before the run, the
logits of test images are compared, and all weights after one step on the same views. The times include neither compilation, which has its
own column, nor evaluation.
"""

import inspect
import time
from pathlib import Path

import jax
import numpy as np

import jaxvision as jv
from benchmarks import command, reference, side_by_side
from experiments.speedrun_cifar10 import config, whitening_steps
from jaxvision.core import fold_name

# The smallest singular values of a gradient are rounding errors, and Muon makes them as large as the others. After one step of 1,000 images
# our kernels differ by up to 6.6e-3 from float64 (7.7e-4 without tiles), the weights of PyTorch by up to 4.4e-3.
_BOUND = 1e-2


def _rows(experiment, first: int, last: int) -> dict:
    """The batches of steps ``first`` to ``last`` (from 1), stacked: label, index and epoch [B, k]."""
    source, steps = jv.data.without_images(experiment.train), last + 1 - first
    batches = jv.data.batches(source, experiment.batch_size, seed=experiment.seed, start=first - 1, steps=steps, threads=0)
    return jax.tree.map(lambda *rows: np.stack(rows, 1), *batches)


class Ours:
    """Our side: each epoch is one program."""

    def __init__(self, experiment):
        self.experiment, self.key = experiment, jax.random.key(experiment.seed)
        self.images = experiment.train.take(np.arange(len(experiment.train)))["image"]
        pure = jv.train.make_step(experiment.objective, experiment.optimizer, augment=experiment.augment)
        self.program = jv.train.compile_step(pure, devices=jax.devices()[:1], in_a_row=True, resident={"image": self.images})
        self.begin()

    def begin(self) -> None:
        """The state before the first step."""
        few = {name: rows[:2, 0] for name, rows in _rows(self.experiment, 1, 1).items()} | {"image": self.images[:2]}
        options = self.experiment.objective, self.experiment.optimizer
        self.state = jv.train.init(*options, few, key=self.key, augment=self.experiment.augment)

    def run(self, rows: dict) -> None:
        """Run all steps whose batches are stacked in ``rows``."""
        self.state, _ = jax.block_until_ready(self.program(self.state, rows, self.key))

    def views(self, rows: dict) -> np.ndarray:
        """The augmented images [B, H, W, C] of the first step."""
        batch = {name: values[:, 0] for name, values in rows.items()}
        batch["image"] = self.images[batch["index"]]
        return np.asarray(jax.jit(self.experiment.augment)(fold_name(self.key, "augment"), batch)["image"])

    def scores(self, images: np.ndarray) -> np.ndarray:
        """The classes' probabilities [N, K] of images [N, H, W, C] uint8."""
        experiment = self.experiment
        return jv.evaluate.predict(experiment.model, jv.train.variables(self.state), images, recipe=experiment.recipe, batch_size=500)


class Theirs:
    """The same epochs in PyTorch."""

    def __init__(self, experiment, params: dict, options: dict):
        import torch

        from benchmarks import plain_speedrun

        torch.manual_seed(experiment.seed)
        self.experiment, self.torch, self.device = experiment, torch, reference.device()
        self.network = plain_speedrun.SpeedNet(len(experiment.train.classes)).to(memory_format=torch.channels_last)
        plain_speedrun.load(self.network, params)
        self.network.to(self.device)
        whole = experiment.train.take(np.arange(len(experiment.train)))
        rates = {"rate": options["learning_rate"], "bias_rate": options["bias_rate"], "head_rate": options["head_rate"]}
        self.training = plain_speedrun.Training(
            self.network,
            self.prepared(whole["image"]),
            self.placed(whole["label"]),
            steps=experiment.steps,
            batch_size=experiment.batch_size,
            whitening_steps=whitening_steps(experiment.steps, options["whitening_epochs"] / experiment.epochs),
            rates=rates,
            decay=options["weight_decay"] * experiment.batch_size,
        )

    def prepared(self, images: np.ndarray):
        """Normalized images [N, C, H, W]."""
        return self.placed(np.moveaxis(np.asarray(jv.evaluate.prepared(images, self.experiment.recipe)), -1, 1))

    def placed(self, values: np.ndarray):
        """Move an array to PyTorch's device."""
        return self.torch.tensor(values).to(self.device)

    def run(self, rows: dict) -> None:
        """Run all steps whose batches are stacked in ``rows``."""
        for index, epoch in zip(rows["index"].T, rows["epoch"].T, strict=True):
            index = self.placed(index).long()
            self.training.step(self.training.views(index, self.placed(epoch)), self.training.label[index])
        reference.wait(self.device)

    def scores(self, images: np.ndarray) -> np.ndarray:
        """The classes' probabilities [N, K] of images [N, H, W, C] uint8."""
        self.network.eval()
        with self.torch.no_grad():
            return np.concatenate([self.network(part).softmax(1).cpu().numpy() for part in self.prepared(images).split(500)])


def _like(leaf, network, path: tuple) -> np.ndarray:
    """The corresponding weight of PyTorch in our layout."""
    *modules, last = (step.key for step in path)
    tensor = network.get_parameter(".".join([*modules, "bias" if last == "bias" else "weight"])).detach().cpu().numpy()
    return np.transpose(tensor, {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[leaf.ndim])


def check(ours: Ours, theirs: Theirs, images: np.ndarray) -> None:
    """Raise side_by_side.Disagreement unless the first predictions and all weights after one step on our views are equal."""
    found, expected = ours.scores(images), theirs.scores(images)
    side_by_side.check_equal({"scores": found}, {"scores": expected}, bound=_BOUND, what="before the run")
    rows = _rows(ours.experiment, 1, 1)
    theirs.training.step(theirs.placed(np.moveaxis(ours.views(rows), -1, 1)), theirs.placed(rows["label"][:, 0]).long())
    ours.run(rows)
    params = ours.state.params["model"]
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        side_by_side.check_equal({name: leaf}, {name: _like(leaf, theirs.network, path)}, bound=_BOUND, what="after one step")


def _seconds(run, rows: dict) -> float:
    start = time.perf_counter()
    run(rows)
    return time.perf_counter() - start


def run(sides: dict, experiment) -> tuple[list[dict], side_by_side.Ratio]:
    """A row for each epoch: the training time of each side, in epochs of PyTorch, and its accuracy; and the ratio of the times."""
    test, first, table = experiment.test.take(np.arange(len(experiment.test))), 1, []
    for last, epoch in experiment.epoch_ends().items():
        rows = _rows(experiment, first, last)
        row, first = {"epoch": epoch}, last + 1
        for name, side in sides.items():
            time.sleep(side_by_side.PAUSE_SECONDS)
            row[f"time_{name}"] = _seconds(side.run, rows)
        row |= {f"top1_{name}": float((side.scores(test["image"]).argmax(1) == test["label"]).mean()) for name, side in sides.items()}
        table.append(row)
        print(f"epoch {epoch}: " + ", ".join(f"{name} {row[f'top1_{name}']:.2%}" for name in sides), flush=True)
    times = {name: np.array([row[f"time_{name}"] for row in table]) for name in sides}
    print(f"seconds of an epoch, median: {', '.join(f'{name} {np.median(turns):.1f}' for name, turns in times.items())}")
    for name, turns in times.items():
        for row, spent in zip(table, np.cumsum(turns) / times["PyTorch"].mean(), strict=True):
            row[f"time_{name}"] = round(float(spent), 3)
    return table, side_by_side.Ratio.over(times["jaxvision"], times["PyTorch"])


def draw(table: list[dict], path: Path, title: str) -> None:
    """Draw the accuracy of both sides over time."""

    def paint(axes) -> None:
        for name, style in (("jaxvision", "o-"), ("PyTorch", "s--")):
            axes.plot([row[f"time_{name}"] for row in table], [100 * row[f"top1_{name}"] for row in table], style, label=name)
        axes.set_xlabel("time in training, in epochs of PyTorch")
        axes.set_ylabel("test top-1 in %")
        axes.grid(alpha=0.3)
        axes.legend()

    side_by_side.picture(paint, path, size=(6, 4), title=title)


def main() -> None:
    """Check, run both sides, print the results, and write table and plot."""
    jv.train.keep_memory()  # as all experiment commands do; it applies to PyTorch too
    defaults = {name: option.default for name, option in inspect.signature(config).parameters.items()}
    parser = command.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 folder or archive, or an .npz file")
    for name in ("epochs", "batch_size", "seed"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int if name == "seed" else command.positive, default=defaults[name])
    given = vars(parser.parse_args())
    reference.torchvision()  # which must be there
    experiment, options = config(**given), defaults | given
    ours = Ours(experiment)
    initial = jax.tree.map(np.array, ours.state.params["model"])
    check(ours, Theirs(experiment, initial, options), experiment.test.take(np.arange(500))["image"])
    ours.begin()
    ends = [0, *experiment.epoch_ends()]
    lengths = {last - first: (first + 1, last) for first, last in zip(ends, ends[1:])}
    compiling = sum(_seconds(ours.run, _rows(experiment, *steps)) for steps in lengths.values())
    ours.begin()
    print(f"both sides agree; ours has compiled {len(lengths)} programs and run them once in {compiling:.1f} s", flush=True)
    table, quotient = run({"jaxvision": ours, "PyTorch": Theirs(experiment, initial, options)}, experiment)
    about = {"images": len(experiment.train), "batch": experiment.batch_size, "epochs": options["epochs"], "seed": experiment.seed}
    path = side_by_side.write("speedrun", [row | about for row in table], named_by=tuple(about))
    draw(table, path.with_suffix(".png"), f"speed run, {len(experiment.train)} images of CIFAR-10, batch {experiment.batch_size}")
    print(f"written to {path}")
    print(f"ratio ours/PyTorch {quotient}")


if __name__ == "__main__":
    command.run(main)
