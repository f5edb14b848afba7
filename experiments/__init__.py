"""Runnable recipes, one a file: ``python -m experiments.NAME --help``. Here is what several of them share."""

import argparse
import ast
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxvision as jv


def cifar10(data: Path | None, *, smoke: bool):
    """(train, test) of CIFAR-10 from a folder, an archive or an .npz file, or a few synthetic images for a smoke test."""
    if smoke:
        return jv.data.synthetic(64, seed=0), jv.data.synthetic(32, seed=1)
    read = jv.data.npz if data is not None and data.suffix == ".npz" else jv.data.cifar
    return read(data, "train"), read(data, "test")


def _imagenet(data: Path | None, tfds: str | None, size: int, *, smoke: bool):
    """(train, test) as they lie there."""
    if smoke:
        return tuple(jv.data.synthetic(count, image_shape=(size, size, 3), num_classes=4) for count in (64, 32))
    if tfds:
        return jv.data.tfds(tfds, "train"), jv.data.tfds(tfds, "validation")
    return tuple(jv.data.image_folder(data, split) for split in ("train", "val"))


def imagenet(data: Path | None, tfds: str | None, size: int, *, smoke: bool):
    """(train, test) of ImageNet's form, cropped on the host to ``size``: random parts to train on, middles to judge.

    From a folder or .zip with train/ and val/, from a prepared TensorFlow Datasets set by name, or synthetic images for a smoke test.
    """
    train, test = _imagenet(data, tfds, size, smoke=smoke)
    return jv.data.random_crops(train, size), jv.data.center_crops(test, size, resize=size * 8 // 7)


def imagenet_views(data: Path | None, tfds: str | None, size: int, *, smoke: bool):
    """(train, memory, test) of ImageNet's form for methods that draw their own views on the device.

    Training images are middle squares of 8/7 ``size``; memory, a tenth of them by class, is what k-NN judges the test images by, both cut
    to ``size``.
    """
    (train, test), side = _imagenet(data, tfds, size, smoke=smoke), size * 8 // 7
    memory = jv.data.few_labels(train, 0.5 if smoke else 0.1)
    memory, test = (jv.data.center_crops(source, size, resize=side) for source in (memory, test))
    return jv.data.center_crops(train, side, resize=side), memory, test


def warmed_cosine(peak: float, train, *, epochs: float, batch_size: int, warmup_epochs: float, end: float = 0.0):
    """A learning rate that rises to ``peak`` in ``warmup_epochs``, at most half of the run, and falls along a cosine to ``end``."""
    steps = jv.train.total_steps(train, epochs=epochs, batch_size=batch_size)
    return jv.train.warmup_cosine(peak, steps, warmup=min(round(warmup_epochs * steps / epochs), steps // 2), end=end)


def labelled(data: Path, size: int):
    """(train, test) of labelled images in whatever layout lies there: idx files, CIFAR, an .npz file, or a folder or .zip of images.

    Images of the last, whose sizes may differ, are cut to squares of ``size``. Raises ValueError where ``data`` is None.
    """
    if data is None:
        raise ValueError("data: found none, expected a folder or an .npz file with labelled images (--data FOLDER)")
    if data.suffix == ".npz":
        return jv.data.npz(data, "train"), jv.data.npz(data, "test")
    found = jv.data.describe(data)
    for read in (jv.data.idx, jv.data.cifar):
        if f"jv.data.{read.__name__})" in found:
            return read(data, "train"), read(data, "test")
    train, test = (jv.data.image_folder(data, split) for split in ("train", "val"))
    return tuple(jv.data.center_crops(source, size, resize=size * 8 // 7) for source in (train, test))


def with_labels(train, labels: float, seed: int):
    """The part of ``train`` that keeps its labels: up to 1 the share of every class, above it so many of each."""
    if labels > 1 and labels % 1:
        raise ValueError(f"labels: found {labels}, expected a share of every class up to 1, or a whole number of each")
    return train if labels == 1 else jv.data.few_labels(train, labels if labels < 1 else int(labels), seed=seed)


class Pretrained(NamedTuple):
    """An encoder that was trained before, with what it was trained and judged on."""

    encoder: Any  # a Linen module without a head
    variables: dict
    recipe: Callable | None  # how it wants to be shown an image
    train: Any
    test: Any

    def augment(self, *, scale: tuple[float, float], flip: bool) -> Callable:
        """Random crops of a part in ``scale`` of the image, and flips, shown as the encoder wants them."""
        steps = [jv.augment.random_resized_crop(self.train[0]["image"].shape[0], scale=scale)]
        steps += [jv.augment.random_horizontal_flip()] if flip else []
        return jv.augment.each(jv.augment.chain(*steps, *([self.recipe] if self.recipe else [])))


def _check_alike(found: tuple, run: tuple) -> None:
    if found != run:
        raise ValueError(f"data: found images of {found}, but the run's encoder was trained on {run}; other data must have that shape")


def _value(text: str):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _network(model: str):
    """A network without a head from its name and options: "resnet18", or "resnet18:stem=cifar,..." with options after a colon."""
    name, _, options = model.partition(":")
    if wrong := [option for option in options.split(",") if option and "=" not in option]:
        raise ValueError(f"model: found {wrong[0]!r} in {model!r}, expected NAME:OPTION=VALUE,OPTION=VALUE such as resnet18:stem=cifar")
    pairs = dict(option.split("=", 1) for option in options.split(",") if option)
    try:
        return jv.create_model(name, num_classes=0, **{key: _value(text) for key, text in pairs.items()})
    except TypeError as error:  # an option that the model lacks
        raise ValueError(f"model: {error}") from None


def _shown_as(moments: str, channels: int) -> Callable | None:
    """What a weight file's network is shown: images normalised as ``moments`` says, "MEAN,STD" of all channels, "imagenet" or "none"."""
    if moments == "none":
        return None
    if moments == "imagenet":
        if channels == 3:
            return jv.augment.normalize(*jv.augment.recipes.IMAGENET)
        raise ValueError(
            f"moments: imagenet's are for 3 channels, the images have {channels}; expected MEAN,STD such as 0.13,0.31, or none"
        )
    try:
        mean, std = (float(number) for number in moments.split(","))
    except ValueError:
        raise ValueError(f"moments: found {moments!r}, expected imagenet, none, or MEAN,STD such as 0.13,0.31") from None
    return jv.augment.normalize(mean, std)


def pretrained(
    run: Path | None,
    weights: Path | None,
    model: str,
    data: Path | None,
    *,
    smoke: bool,
    key: str = "student",
    moments: str = "imagenet",
) -> Pretrained:
    """The encoder of a run folder, or a network by name with the weights of a file; no head.

    ``key``: "student", what the run trained, or "teacher", what it kept beside it. ``data`` where they are not the run's own. ``moments``:
    how a weight file's network was shown its images; a run folder knows it. Raises ValueError where both or neither are given, data have
    another shape than the run's, or the run kept no teacher.
    """
    if smoke:
        encoder = jv.create_model("lenet5", num_classes=0)
        train, test = jv.data.synthetic(64, seed=0), jv.data.synthetic(32, seed=1)
        return Pretrained(encoder, encoder.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3))), None, train, test)
    if (run is None) == (weights is None):
        raise ValueError("run, weights: expected one of the two, a run folder (--run) or a file (--weights, with --model)")
    if run is not None:
        experiment, state = jv.train.load(run)
        encoder, shape = experiment.model.clone(num_classes=0), experiment.train[0]["image"].shape
        train, test = labelled(data, shape[0]) if data else (experiment.train, experiment.test)
        _check_alike(train[0]["image"].shape, shape)
        variables = jv.train.teacher(state) if key == "teacher" else jv.train.variables(state)
        return Pretrained(encoder, jv.models.drop_head(variables), experiment.recipe, train, test)
    if data is None:
        raise ValueError("data: found none; a weight file knows no data (--data FOLDER)")
    encoder = _network(model)
    train, test = labelled(data, getattr(encoder, "image_size", 224))
    recipe = _shown_as(moments, train[0]["image"].shape[2])
    return Pretrained(encoder, jv.weights.load(encoder, weights, drop_head=True), recipe, train, test)


def scheduled_dino(encoder, *, steps: int, epochs: int, prototypes: int, momentum: float) -> jv.Objective:
    """DINO with its paper's schedules: the teacher's momentum up to 1, its temperature from 0.04 to 0.07 in at most 30 epochs or a third
    of the run, the prototypes still for the first epoch, at most a tenth of the run.
    """
    return jv.objectives.dino(
        encoder,
        prototypes=prototypes,
        momentum=jv.train.cosine(momentum, 1.0, steps),
        teacher_temperature=optax.linear_schedule(0.04, 0.07, max(min(30, epochs / 3) * steps // epochs, 1)),
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
    """The command of an experiment that has several runs: each of ``runs`` (name: its own options) in a folder of its own, then ``finish``.

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
        raise SystemExit(f"{name}: {', '.join(missing)} came to no end; the same command goes on with them")
    return finish(workdir, rest)


def spread(figures: dict[str, dict[str, list[float]]]) -> str:
    """Test accuracies {what: {judgement: [one a seed]}} as lines of mean and range, in per cent."""
    cell = "{}: {:.2f} ({:.2f} to {:.2f})"
    rows = {
        what: [cell.format(name, *(100 * of(top1) for of in (np.mean, min, max))) for name, top1 in found.items()]
        for what, found in figures.items()
    }
    return "\n".join(["test top-1 in %, mean and range over seeds", *(f"{what}  {', '.join(cells)}" for what, cells in rows.items())])


def _shown(image, mean, std):
    """Normalised images as pictures again."""
    return np.asarray(image * np.asarray(std, np.float32) + np.asarray(mean, np.float32))


def paint(
    reconstruct: Callable,
    *,
    mean=jv.augment.recipes.IMAGENET[0],
    std=jv.augment.recipes.IMAGENET[1],
    modes: tuple[str, ...] = ("honest", "oracle"),
) -> Callable:
    """The ``draw`` of a masked autoencoder that sees images normalised by ``mean`` and ``std``: reconstructions, one picture a mode.

    ``reconstruct(params, image, *, key, honest)`` gives what was seen, made and should have been.
    """

    def draw(state: jv.train.TrainState, image, where: Path) -> None:
        image = (image - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
        for mode in modes:
            pictures = jax.jit(partial(reconstruct, honest=mode == "honest"))(state.params, image, key=jax.random.key(0))
            jv.plots.reconstructions(*(_shown(one, mean, std) for one in pictures), where / f"reconstruction_{mode}.png", mode=mode)

    return draw


def attend(encoder, *, mean=jv.augment.recipes.IMAGENET[0], std=jv.augment.recipes.IMAGENET[1], scale: int = 2) -> Callable:
    """The ``draw`` of DINO with a Vision Transformer: what the teacher's class token looks at in the last block, as the paper shows it.

    One picture an image, ``scale`` times as large.
    """

    def draw(state: jv.train.TrainState, image, where: Path) -> None:
        side = scale * image.shape[1], scale * image.shape[2]
        large = jax.vmap(lambda one: jv.augment.resize(side, method="bicubic")(None, one))(image)
        seen = (large - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
        maps = jax.jit(partial(jv.models.class_attention, encoder))(jv.train.teacher(state), seen)[:, -1]  # [B, heads, h, w]
        for index in range(min(4, len(image))):
            jv.plots.attention(np.clip(large[index], 0, 1), np.asarray(maps[index]), where / f"attention_{index}.png")

    return draw
