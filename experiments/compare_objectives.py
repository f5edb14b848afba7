"""SimCLR, DINO, MAE, supervised training and random initialization compared: the same encoder, data, budget and evaluation.

    python -m experiments.compare_objectives --data FOLDER [--labels 10]                # all methods, three seeds each, and a table
    python -m experiments.compare_objectives --data FOLDER --encoder lenet              # the same without mae, which needs a transformer
    python -m experiments.compare_objectives --data FOLDER --method dino [--seed 1]     # one run

FOLDER holds idx files (MNIST), CIFAR-10 or an .npz. The encoder is a small Vision Transformer: 4 blocks, patches of 4 x 4 pixels.
Pre-training uses all training images. Evaluation uses ``labels`` images of each class and all test images: weighted k-NN, a linear probe
(L-BFGS) and fine-tuning of the whole encoder. Baselines are the same encoder at random initialization, and raw pixels. For runs of minutes
the settings differ from the papers: DINO has BatchNorm in the head, no frozen prototypes, and no schedules of weight decay and of the
teacher's temperature; MAE does not normalize its targets.
Expected: docs/results.md has figures on 2 CPU cores, for MNIST and CIFAR-10.
"""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

import jaxvision as jv
from experiments import fine_tune, required, run_each, seed_table, warmed_cosine, with_labels

CONVOLUTIONAL = {"resnet": "resnet20", "lenet": "lenet5"}
METHODS, SEEDS = ("simclr", "dino", "mae", "supervised"), (0, 1, 2)
_PATCH = 4  # pixels
_LOCAL_CROPS = 2  # of dino
_DECODER: dict[str, Any] = {"depth": 1, "width": 64, "heads": 2}  # of mae
_TARGET: dict[str, Any] = {"normalize_target": False}  # of mae
# Peak rates of AdamW for batches of 64 to 256, chosen on 3,000 of MNIST's test images with seed 0; that of supervised was not tuned.
_RATES = {"simclr": 2e-3, "dino": 1e-3, "mae": 3e-3, "supervised": 1e-3}
_FINE_TUNING_UPDATES = 400
_SMOKE_LABELS = 2  # of each class, of 64 images in all
_MOMENTS: dict[bool, Any] = {True: (0.13, 0.31), False: jv.augment.IMAGENET}  # mean and standard deviation of digits, of photographs


def _views(method: str, size: int, *, digits: bool, small: int):
    """(augmentation, recipe) of a method: that of its paper for photographs; crops, rotations and blur, which keep the label, for digits.

    Images come out with sides of ``size``, the local crops of DINO with sides of ``small``.
    """
    fit, normalize = jv.augment.resize((size, size)), jv.augment.normalize(*_MOMENTS[digits])
    evaluated = jv.augment.chain(fit, normalize)
    if not digits:
        recipes = {
            "simclr": lambda: jv.augment.simclr(size, strength=0.5, blur=False),
            "dino": lambda: jv.augment.dino(size, crop_size=small, crops=_LOCAL_CROPS),
            "mae": lambda: jv.augment.each(jv.augment.mae(size)),
            "supervised": lambda: jv.augment.each(jv.augment.mae(size)),
        }
        return recipes[method](), fit if method == "simclr" else evaluated
    turn, blur = jv.augment.affine(degrees=(-20.0, 20.0), shear=(-10.0, 10.0)), jv.augment.gaussian_blur((0.1, 1.0), kernel_size=3)
    cut = lambda side, low, high: jv.augment.random_resized_crop(side, scale=(low, high), ratio=(0.8, 1.25))  # noqa: E731
    view = jv.augment.chain(cut(size, 0.4, 1.0), turn, jv.augment.random_apply(blur, 0.5), normalize)
    if method == "simclr":
        return jv.augment.views(view, view), evaluated
    if method == "dino":
        local = jv.augment.chain(cut(small, 0.3, 0.7), turn, normalize)
        return jv.augment.views(view, view, crops=(local,) * _LOCAL_CROPS), evaluated
    return jv.augment.each(jv.augment.chain(cut(size, 0.6, 1.0), normalize)), evaluated


def _drawing(method: str, network, *, digits: bool):
    """The ``draw`` function of a run."""
    if method != "mae":
        return None
    mean, std = _MOMENTS[digits]
    reconstruct = partial(jv.objectives.mae_reconstruction, network, heads=_DECODER["heads"], **_TARGET)
    return jv.plots.draw_reconstructions(reconstruct, mean, std, modes=("honest",))  # of plain pixels the oracle mode would be the same


def _network(encoder: str, size: int, classes: int, *, smoke: bool):
    if encoder in CONVOLUTIONAL:
        return jv.create_model(CONVOLUTIONAL[encoder], num_classes=classes)
    whole = jv.create_model("vit_tiny_patch16_224", image_size=size, patch_size=_PATCH, num_classes=classes, pool="mean")
    return whole.clone(width=96, depth=2 if smoke else 4, heads=3)


def _objective(method: str, encoder, steps: int):
    if method == "simclr":
        return jv.objectives.simclr(encoder, temperature=0.2)
    if method == "dino":  # a higher temperature, or no BatchNorm, ends with uniform predictions or features of rank 4
        sizes: dict[str, Any] = {"prototypes": 1024, "hidden": 256, "bottleneck": 64, "batch_norm": True}
        return jv.objectives.dino(encoder, **sizes, momentum=jv.train.cosine(0.99, 1.0, steps))
    if method == "mae":
        return jv.objectives.mae(encoder, **_DECODER, **_TARGET)
    return jv.objectives.supervised(encoder)


def _first(train, images: int):
    if not 0 < images <= len(train):
        raise ValueError(f"images: found {images}, expected 1 to {len(train)}, those of the training set")
    return jv.data.subset(train, range(images))


def config(
    *,
    data: Path | None = None,
    method: Literal["simclr", "dino", "mae", "supervised"] = "simclr",
    labels: float = 10,
    images: int | None = None,
    epochs: int = 10,
    batch_size: int = 256,
    encoder: Literal["vit", "resnet", "lenet"] = "vit",
    learning_rate: float | None = None,
    seed: int = 0,
    smoke: bool = False,
) -> jv.train.Experiment:
    """Pre-train the small encoder by one method; without --method by each of them.

    Args:
        data: Folder of idx files or CIFAR-10, or an .npz file.
        method: The method of pre-training; supervised uses only the labels that evaluate the other methods.
        labels: Number of labelled images of each class; up to 1, the share that is labelled.
        images: How many of the training images to use; by default all.
        epochs: Passes over the training images; the supervised run makes as many updates.
        batch_size: Images in a step, over all devices.
        encoder: A Vision Transformer of 4 blocks, or a network that cannot hide patches (no mae): ResNet-20, or LeNet-5, which takes
            32 x 32 pixels only (also as dino's local crops).
        learning_rate: Peak rate of AdamW; by default one that suits the method.
        seed: Decides initialization, data order, augmentation and which labels are kept.
        smoke: A few steps on synthetic images, to see that everything works.
    """
    train, test = (jv.data.synthetic(count, seed=count) for count in (64, 32)) if smoke else jv.data.labelled(required(data), 32)
    if smoke:
        epochs, batch_size, labels = 1, 16, _SMOKE_LABELS
    train = train if images is None else _first(train, images)
    size, digits = train[0]["image"].shape[0], train[0]["image"].shape[2] == 1
    few, steps = with_labels(train, labels, seed), jv.train.total_steps(train, epochs=epochs, batch_size=batch_size)
    supervised = method == "supervised"
    network = _network(encoder, size, len(train.classes) * supervised, smoke=smoke)
    fixed = encoder == "lenet"  # it takes 32 x 32 pixels only
    small = 32 if fixed else size // (2 * _PATCH) * _PATCH
    augment, recipe = _views(method, 32 if fixed else size, digits=digits, small=small)
    used = few if supervised else train
    run: dict[str, Any] = {"epochs": epochs, "batch_size": min(batch_size, len(used))}
    if supervised:  # as many updates as the other methods, in shorter epochs
        run["epochs"] = max(round(steps * run["batch_size"] / len(few)), 1)
    rate = warmed_cosine(_RATES[method] if learning_rate is None else learning_rate, used, warmup_epochs=run["epochs"] / 10, **run)
    return jv.train.Experiment(
        network,
        _objective(method, network, steps),
        jv.train.adamw(rate, beta2=0.95 if method == "mae" else 0.999, weight_decay=0.05, clip_norm=3.0),
        used,
        test=test,
        **run,
        augment=augment,
        recipe=recipe,
        evaluate=jv.evaluate.classification if supervised else jv.evaluate.nearest(few, k=min(20, len(few))),
        evaluate_every=max(1, run["epochs"] // epochs),
        seed=seed,
    )


def run_options(experiment: jv.train.Experiment, *, method: str, encoder: str, **_) -> jv.train.RunOptions:
    """The title, and the reconstructions that MAE draws."""
    digits = experiment.train[0]["image"].shape[2] == 1
    return jv.train.RunOptions(title=f"{method}, {encoder}", draw=_drawing(method, experiment.model, digits=digits))


def _pixels(source) -> tuple[np.ndarray, np.ndarray]:
    rows = np.stack([source[index]["image"].reshape(-1) for index in range(len(source))])
    return rows.astype(np.float32) / 255, np.asarray(source.labels)


def _classified(few: tuple, test: tuple) -> dict[str, float]:
    """Test accuracy of k-NN and of a linear probe that are fitted to the labelled images; arguments are (features, labels)."""
    k = min(20, max(1, len(few[1]) // 20))
    return {"knn": jv.evaluate.knn(*few, *test, k=k)["top1"], "linear": jv.evaluate.linear_probe(*few, *test)["top1"]}


def _evaluated(method: str) -> Literal["student", "teacher"]:
    """The encoder that a method's paper evaluates."""
    return "teacher" if method == "dino" else "student"


def _fine_tuned(folder: Path, few, options: dict, *, scratch: bool) -> float:
    """Test accuracy of the whole encoder after fine-tuning on the labelled images."""
    batch_size = min(64, len(few))
    experiment = fine_tune.config(
        run=folder,
        key=_evaluated(options["method"]),
        labels=options["labels"] if options["method"] != "supervised" else 1.0,
        epochs=2 if options["smoke"] else max(1, round(_FINE_TUNING_UPDATES * batch_size / len(few))),
        batch_size=batch_size,
        flip=few[0]["image"].shape[2] == 3,
        scratch=scratch,
        seed=options["seed"],
    )
    where = folder / ("from_scratch" if scratch else "fine_tuned")
    jv.train.run(experiment, where, fine_tune.run_options(experiment, scratch=scratch))
    return json.loads((where / "summary.json").read_text())["top1"]


def evaluate(folder: Path, *, baselines: bool) -> dict[str, dict[str, float]]:
    """Test accuracies of one run's method; with ``baselines`` also of its encoder before training ("random") and of raw pixels."""
    given = json.loads((folder / "config.json").read_text())["experiment"]["options"]
    options = {"method": "simclr", "labels": 10, "seed": 0, "smoke": False} | given
    if options["smoke"]:
        options["labels"] = _SMOKE_LABELS
    method, seed, options["labels"] = options["method"], int(options["seed"]), float(options["labels"])
    encoder, variables, recipe, experiment = jv.train.load_encoder(folder, which=_evaluated(method))
    train, test = experiment.train, experiment.test
    few = train if method == "supervised" else with_labels(train, options["labels"], seed)

    def of_features(variables: dict) -> dict[str, float]:
        return _classified(*(jv.evaluate.features(encoder, variables, source, recipe=recipe) for source in (few, test)))

    found = {method: of_features(variables) | {"fine_tuned": _fine_tuned(folder, few, options, scratch=False)}}
    if baselines:
        start = jv.train.variables(jv.train.load(folder)[0].initializer().state())  # the encoder that the run began with
        found["random"] = of_features(start) | {"fine_tuned": _fine_tuned(folder, few, options, scratch=True)}
        found["pixels"] = _classified(_pixels(few), _pixels(test))
    return found


def _runs(given: list[str]) -> dict[str, list[str]]:
    """The runs of a command line, by name: all methods that suit its encoder, with each seed; only the first for a smoke test."""
    if "--smoke" in given:
        return {"simclr-0": ["--method", "simclr", "--seed", "0"]}
    patches = not any(f in given or f"--encoder={f}" in given for f in CONVOLUTIONAL)
    methods = [method for method in METHODS if method != "mae" or patches]
    return {f"{method}-{seed}": ["--method", method, "--seed", str(seed)] for method in methods for seed in SEEDS}


def tabulate(workdir: Path, given: list[str]) -> None:
    """Evaluate all runs in ``workdir``, write the table to its summary.json and print it."""
    accuracies: dict[str, dict[str, list[float]]] = {}
    for name in sorted(_runs(given)):
        for encoder, found in evaluate(workdir / name, baselines=name.startswith(METHODS[0])).items():
            for evaluation, top1 in found.items():
                accuracies.setdefault(encoder, {}).setdefault(evaluation, []).append(top1)
    (workdir / "summary.json").write_text(json.dumps(accuracies, indent=2) + "\n")
    print(seed_table(accuracies))


if __name__ == "__main__":
    run_each(config, _runs(sys.argv), "method", tabulate, options=run_options)
