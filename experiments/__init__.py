"""Recipes, one per file: ``python -m experiments.NAME --help``. This file holds the parts that several recipes share."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxvision as jv
from jaxvision.cli import literal


def required(data: Path | None) -> Path:
    """``data``; raises ValueError where the command line has no --data."""
    if data is None:
        raise ValueError("data: found none, expected a folder or file (--data FOLDER)")
    return data


def cifar10(data: Path | None, *, smoke: bool):
    """(train, test) of CIFAR-10 from a folder, an archive or an .npz file, or a few synthetic images for a smoke test."""
    if smoke:
        return jv.data.synthetic(64, seed=0), jv.data.synthetic(32, seed=1)
    path = required(data)
    read = jv.data.npz if path.suffix == ".npz" else jv.data.cifar
    return read(path, "train"), read(path, "test")


def _imagenet(data: Path | None, tfds: str | None, size: int, *, smoke: bool):
    """(train, test) of ImageNet's form, with images of any size."""
    if smoke:
        return tuple(jv.data.synthetic(count, image_shape=(size, size, 3), num_classes=4) for count in (64, 32))
    if tfds:
        return jv.data.tfds(tfds, "train"), jv.data.tfds(tfds, "validation")
    return tuple(jv.data.image_folder(required(data), split) for split in ("train", "val"))


def imagenet(data: Path | None, tfds: str | None, size: int, *, smoke: bool):
    """(train, test) of ImageNet's form, cropped on the host to ``size``: random crops for training, center crops for evaluation.

    From a folder or .zip with train/ and val/, from a prepared TensorFlow Datasets set by name, or synthetic images for a smoke test.
    """
    train, test = _imagenet(data, tfds, size, smoke=smoke)
    return jv.data.random_crops(train, size), jv.data.center_crops(test, size, resize=size * 8 // 7)


def imagenet_views(data: Path | None, tfds: str | None, size: int, *, smoke: bool):
    """(train, memory, test) of ImageNet's form for methods that draw their views on the device.

    Training images are center crops of 8/7 ``size``. ``memory`` is a tenth of each class: the labelled images of k-NN, which classifies the
    test images. Both are center crops of ``size``.
    """
    (train, test), side = _imagenet(data, tfds, size, smoke=smoke), size * 8 // 7
    memory = jv.data.few_labels(train, 0.5 if smoke else 0.1)
    memory, test = (jv.data.center_crops(source, size, resize=side) for source in (memory, test))
    return jv.data.center_crops(train, side, resize=side), memory, test


def warmed_cosine(peak: float, train, *, epochs: float, batch_size: int, warmup_epochs: float, end: float = 0.0):
    """A schedule: linear to ``peak`` in ``warmup_epochs`` (at most half of the run), then half a cosine down to ``end``."""
    steps = jv.train.total_steps(train, epochs=epochs, batch_size=batch_size)
    return jv.train.warmup_cosine(peak, steps, warmup=min(round(warmup_epochs * steps / epochs), steps // 2), end=end)


def with_labels(train, labels: float, seed: int):
    """The images of ``train`` that keep their labels: a share of each class up to 1, a number of each class above 1."""
    if labels > 1 and labels % 1:
        raise ValueError(f"labels: found {labels}, expected a share of every class up to 1, or a whole number of each")
    return train if labels == 1 else jv.data.few_labels(train, labels if labels < 1 else int(labels), seed=seed)


class Start(NamedTuple):
    """A pretrained encoder without a head, and the data to train and evaluate a classifier on."""

    encoder: Any  # a Linen module
    variables: dict
    recipe: Callable | None  # (key, image) -> image: how the encoder expects an image
    train: Any
    test: Any

    def augment(self, *, scale: tuple[float, float], flip: bool) -> Callable:
        """Random crops with an area share in ``scale``, horizontal flips if ``flip``, and the encoder's recipe."""
        steps = [jv.augment.random_resized_crop(self.train[0]["image"].shape[0], scale=scale)]
        steps += [jv.augment.random_horizontal_flip()] if flip else []
        return jv.augment.each(jv.augment.chain(*steps, *([self.recipe] if self.recipe else [])))


def _network(model: str):
    """A network without a head from its name and options: "resnet18", or "resnet18:stem=cifar,..." with options after a colon."""
    name, _, options = model.partition(":")
    if wrong := [option for option in options.split(",") if option and "=" not in option]:
        raise ValueError(f"model: found {wrong[0]!r} in {model!r}, expected NAME:OPTION=VALUE,OPTION=VALUE such as resnet18:stem=cifar")
    pairs = dict(option.split("=", 1) for option in options.split(",") if option)
    try:
        return jv.create_model(name, num_classes=0, **{key: literal(text) for key, text in pairs.items()})
    except TypeError as error:  # an option that the model lacks
        raise ValueError(f"model: {error}") from None


def _normalization(moments: str, channels: int) -> Callable | None:
    """The normalization that ``moments`` names: "MEAN,STD" for all channels, "imagenet", or "none"."""
    if moments == "none":
        return None
    if moments == "imagenet":
        if channels == 3:
            return jv.augment.normalize(*jv.augment.IMAGENET)
        raise ValueError(
            f"moments: imagenet's are for 3 channels, the images have {channels}; expected MEAN,STD such as 0.13,0.31, or none"
        )
    try:
        mean, std = (float(number) for number in moments.split(","))
    except ValueError:
        raise ValueError(f"moments: found {moments!r}, expected imagenet, none, or MEAN,STD such as 0.13,0.31") from None
    return jv.augment.normalize(mean, std)


def _from_run(run: Path, data: Path | None, key: Literal["student", "teacher"]) -> Start:
    encoder, variables, recipe, experiment = jv.train.load_encoder(run, which=key)
    shape = experiment.train[0]["image"].shape
    train, test = jv.data.labelled(data, shape[0]) if data else (experiment.train, experiment.test)
    if train[0]["image"].shape != shape:
        raise ValueError(f"data: found images of {train[0]['image'].shape}, expected {shape}, the shape that the encoder was trained on")
    return Start(encoder, variables, recipe, train, test)


def start(
    run: Path | None,
    weights: Path | None,
    model: str,
    data: Path | None,
    *,
    smoke: bool,
    key: Literal["student", "teacher"] = "student",
    moments: str = "imagenet",
) -> Start:
    """The encoder of a run folder, or a network by name with the weights of a file; and labelled data.

    ``key``: "student", the encoder that the run trained, or "teacher", the moving average that it kept. ``data``: by default the run's own.
    ``moments``: the normalization of images for a weight file's network; a run folder knows its own. Raises ValueError where both or
    neither of ``run`` and ``weights`` are given, where ``data`` have another shape than the run's, or where the run kept no teacher.
    """
    if smoke:
        encoder = jv.create_model("lenet5", num_classes=0)
        train, test = jv.data.synthetic(64, seed=0), jv.data.synthetic(32, seed=1)
        return Start(encoder, dict(encoder.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))), None, train, test)
    if run is not None and weights is None:
        return _from_run(run, data, key)
    if run is not None or weights is None:
        raise ValueError("run, weights: expected one of the two, a run folder (--run) or a file (--weights, with --model)")
    encoder = _network(model)
    train, test = jv.data.labelled(required(data), getattr(encoder, "image_size", 224))
    recipe = _normalization(moments, train[0]["image"].shape[2])
    return Start(encoder, jv.weights.load(encoder, weights, drop_head=True), recipe, train, test)


def scheduled_dino(encoder, *, steps: int, epochs: int, prototypes: int, momentum: float) -> jv.Objective:
    """DINO with the schedules of its paper.

    The teacher's momentum rises to 1. Its temperature rises from 0.04 to 0.07 in 30 epochs, or in a third of a shorter run. The prototypes
    are frozen in the first epoch, at most for a tenth of the run.
    """
    return jv.objectives.dino(
        encoder,
        prototypes=prototypes,
        momentum=jv.train.cosine(momentum, 1.0, steps),
        teacher_temperature=optax.linear_schedule(0.04, 0.07, max(int(min(30, epochs / 3) * steps // epochs), 1)),
        freeze_steps=min(steps // epochs, steps // 10),
    )


def run_each(
    config: Callable,
    runs: dict[str, list[str]],
    single: str,
    finish: Callable,
    *,
    options: jv.train.RunOptions | Callable[..., jv.train.RunOptions] = jv.train.RunOptions(),
) -> None:
    """The command of an experiment with several runs: starts each of ``runs`` ({name: its options}) in its own folder, then ``finish``.

    Where the command line has the option ``single``, such as "model", it is one run of ``config`` like any other experiment.
    ``finish(workdir, rest)`` gets the folder of them all and the options given.
    """
    name = Path(config.__code__.co_filename).stem
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--workdir", type=Path)
    parser.add_argument(f"--{single}")
    own, rest = parser.parse_known_args()
    smoke = "-smoke" if "--smoke" in rest else ""
    if {"-h", "--help"} & set(rest):
        return jv.train.main(config, options=options)
    if chosen := getattr(own, single):
        workdir = own.workdir or Path("runs") / f"{name}-{chosen}{smoke}"
        return jv.train.main(config, [f"--{single}", chosen, "--workdir", str(workdir), *rest], options=options)
    workdir = own.workdir or Path("runs") / f"{name}{smoke}"
    varied = {word for arguments in runs.values() for word in arguments if word.startswith("--")}
    if fixed := varied & {option.partition("=")[0] for option in rest}:
        raise SystemExit(f"{name}: the runs differ in {', '.join(sorted(fixed))}; give it with --{single}, for one run, or not at all")
    for run, arguments in runs.items():
        jv.train.main(config, [*arguments, "--workdir", str(workdir / run), *rest], options=options)
    if missing := [run for run in runs if not (workdir / run / "summary.json").is_file()]:
        raise SystemExit(f"{name}: {', '.join(missing)} did not finish; the same command resumes them")
    return finish(workdir, rest)


def seed_table(figures: dict[str, dict[str, list[float]]]) -> str:
    """Test accuracies {what: {evaluation: [one a seed]}} as lines of mean and range, in per cent."""
    cell = "{}: {:.2f} ({:.2f} to {:.2f})"
    rows = {
        what: [cell.format(name, *(100 * of(top1) for of in (np.mean, min, max))) for name, top1 in found.items()]
        for what, found in figures.items()
    }
    return "\n".join(["test top-1 in %, mean and range over seeds", *(f"{what}  {', '.join(cells)}" for what, cells in rows.items())])
