"""The contract of every objective on every kind of net: one trace, finite gradients, none for memory, a falling loss, any device count.

An objective joins with one row of ``ROWS``. The fast tests run each on the first of its nets, the slow ones on every net.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from benchmarks.driver_agreement import difference
from jaxvision.models.convnext import ConvNeXt
from jaxvision.models.lenet import LeNet5
from jaxvision.models.resnet import ResNet
from jaxvision.models.vit import ViT

KEY, BATCH, SIDE, CLASSES, STEPS = jax.random.key(3), 16, 32, 5, 20
NETS = {  # the smallest of each family that has its family's every part, with random draws in training
    "lenet": lambda classes=0: LeNet5("relu", num_classes=classes),
    "resnet": lambda classes=0: ResNet((1, 1), False, "free", num_classes=classes, stem_kind="cifar", drop_path_rate=0.1),
    "convnext": lambda classes=0: ConvNeXt((1, 1, 1, 1), (8, 8, 16, 16), True, True, num_classes=classes, drop_path_rate=0.1),
    "vit": lambda classes=0: ViT(24, 2, 2, patch_size=8, image_size=SIDE, num_classes=classes, drop_path_rate=0.1),
}
ANY_SIZE = ("resnet", "vit")  # nets that see crops of half the side


def images(*shape: int, seed: int = 0) -> np.ndarray:
    """Images [*shape, 32, 32, 3] of big blots of colour, in which views have something in common."""
    draw = np.random.default_rng(seed)
    blots = draw.random((shape[0], *(1 for _ in shape[1:]), 4, 4, 3)) + 0.3 * draw.random((*shape, 4, 4, 3))
    return np.kron(blots / 1.3, np.ones((SIDE // 4, SIDE // 4, 1))).astype(np.float32)


def plain(net: str) -> dict:
    return {"image": images(BATCH), "label": np.arange(BATCH) % CLASSES}


def two_views(net: str) -> dict:
    return {"views": images(BATCH, 2)}


def multi_crop(net: str) -> dict:
    crops = images(BATCH, 3, seed=1)
    return {"views": images(BATCH, 2), "crops": crops[:, :, :16, :16] if net in ANY_SIZE else crops}


def two_streams(net: str) -> dict:
    return plain(net) | {"unlabelled": {"views": images(2 * BATCH, 2, seed=2)}}


def taught(make: Callable) -> jv.Objective:
    teacher = NETS["lenet"](CLASSES)
    return jv.objectives.distill(make(CLASSES), teacher, teacher.init(jax.random.key(7), jnp.zeros((1, SIDE, SIDE, 3))))


class Row(NamedTuple):
    """How an objective is made of a net (``make(classes)`` gives one), what it reads, and the nets that it is for."""

    objective: Callable
    batch: Callable
    nets: tuple[str, ...] = ("lenet", "resnet", "vit", "convnext")
    rate: float = 0.02  # of momentum, at which the loss falls
    compare_from: int = 0  # the step from which losses can be compared; a teacher and its centre still change fast before


ROWS = {
    "simclr": Row(lambda make: jv.objectives.simclr(make(), projection=16), two_views),
    "supervised_contrastive": Row(
        lambda make: jv.objectives.supervised_contrastive(make(), projection=16), lambda net: plain(net) | two_views(net), nets=("lenet",)
    ),
    "vicreg": Row(lambda make: jv.objectives.vicreg(make(), width=16), two_views, rate=0.001),
    "byol": Row(lambda make: jv.objectives.byol(make(), hidden=32, projection=16), two_views),
    "simsiam": Row(lambda make: jv.objectives.simsiam(make(), hidden=8, projection=16), two_views),
    "dino": Row(
        lambda make: jv.objectives.dino(make(), prototypes=48, hidden=32, bottleneck=64, teacher_temperature=0.1, center_momentum=0.0),
        multi_crop,
        nets=("resnet", "vit", "lenet", "convnext"),
        rate=0.005,
        compare_from=4,
    ),
    "dino_batch_norm": Row(
        lambda make: jv.objectives.dino(
            make(), prototypes=48, hidden=32, bottleneck=64, batch_norm=True, teacher_temperature=0.1, center_momentum=0.0
        ),
        multi_crop,
        nets=("lenet",),
        rate=0.005,
        compare_from=4,
    ),
    "distill": Row(taught, plain),
    "pseudo_label": Row(lambda make: jv.objectives.pseudo_label(make(CLASSES), threshold=0.0), two_streams),
    "mae": Row(lambda make: jv.objectives.mae(make(), depth=1, width=16, heads=2), plain, nets=("vit",), rate=0.1),
    "fcmae": Row(lambda make: jv.objectives.fcmae(make().clone(patch_size=1), width=16), plain, nets=("convnext",), rate=0.1),
    "jigsaw": Row(  # tiles of 8 x 8
        lambda make: jv.objectives.jigsaw(make(), permutations=2, gap=2, tile_width=16, hidden=32), plain, nets=ANY_SIZE, rate=0.05
    ),
    "autoencoder": Row(lambda make: jv.objectives.autoencoder(make(), width=8), plain),
    "vae": Row(lambda make: jv.objectives.autoencoder(make(), width=8, variational=True), plain, nets=("lenet",)),
}
SLOW_ROWS = (
    "supervised_contrastive",
    "dino_batch_norm",
    "vae",
    "fcmae",
)  # variants of another row; long to compile, with fast tests elsewhere
# What shares anything over devices: negatives, a centre, a count of confident examples, statistics of hidden patches; a teacher under pmap.
FAST_ON_EIGHT = ("simclr-shard_map", "dino-shard_map", "pseudo_label-shard_map", "mae-shard_map", "byol-pmap")


def cell(*values: str, fast: bool):
    return pytest.param(*values, marks=[] if fast else pytest.mark.slow, id="-".join(values))


PAIRS = [cell(name, net, fast=net == row.nets[0] and name not in SLOW_ROWS) for name, row in ROWS.items() for net in row.nets]
FIRST_TWO = [pair for pair in PAIRS if pair.values[1] in ROWS[pair.values[0]].nets[:2]]
DRIVERS = ("jit", "shard_map", "pmap")
EIGHT = [
    cell(name, net, driver, fast=net == row.nets[0] and f"{name}-{driver}" in FAST_ON_EIGHT)
    for name, row in ROWS.items()
    for net in row.nets[:2]
    for driver in DRIVERS
]


class Setting(NamedTuple):
    """An objective on a net, its batch, its step, a state before the first one, and how often its loss was traced since."""

    objective: jv.Objective
    batch: dict
    step: Callable
    state: jv.train.TrainState
    traces: list


@functools.cache
def setting(name: str, net: str) -> Setting:
    row, traces = ROWS[name], []
    objective, batch, optimizer = row.objective(NETS[net]), row.batch(net), jv.train.momentum(row.rate)

    def loss(*inputs, **options):
        traces.append(name)
        return objective.loss(*inputs, **options)

    counted = objective._replace(loss=loss)
    state = jv.train.init(counted, optimizer, batch, key=KEY)
    traces.clear()
    return Setting(counted, batch, jv.train.make_step(counted, optimizer), state, traces)


class Early(NamedTuple):
    """What two steps made of the leaves of parameters, carry and loss, and their metrics."""

    leaves: list[np.ndarray]
    metrics: dict[str, float]


def trained(
    name: str, net: str, driver: str, count: int, steps: int, *, form: Callable = jnp.copy
) -> tuple[Early, list[float], jv.train.TrainState]:
    """(what two steps made; the losses of all steps; the last state). ``form``: of each array of the state and of the batch."""
    run, devices, losses = setting(name, net), jax.devices()[:count], []
    step = jv.train.compile_step(run.step, driver=driver, devices=devices)
    state, batch = jv.train.place(jax.tree.map(form, run.state), devices=devices), jax.tree.map(form, run.batch)
    for index in range(steps):
        state, metrics = step(state, batch, KEY)
        losses.append(float(metrics["loss"]))
        assert np.isfinite(float(metrics["gradient_norm"])) and int(metrics["skipped"]) == 0
        if index == 1:
            leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves((state.params, state.carry, metrics["loss"]))]
            early = Early(leaves, {name: float(metric) for name, metric in metrics.items()})
    return early, losses, state


@functools.cache
def on_one_device(name: str, net: str):
    traces = setting(name, net).traces
    traces.clear()
    return *trained(name, net, "jit", 1, STEPS), len(traces)


def structure(tree):
    return jax.tree.structure(tree), [(jnp.shape(leaf), jnp.result_type(leaf)) for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize(("name", "net"), PAIRS)
def test_the_loss_falls_in_one_trace_and_the_state_keeps_its_form(name, net):
    _, losses, state, traces = on_one_device(name, net)
    assert traces == 1
    assert structure(state) == structure(setting(name, net).state)
    assert np.mean(losses[-3:]) < losses[ROWS[name].compare_from]


@pytest.mark.parametrize(("name", "net"), FIRST_TWO)
def test_no_gradient_reaches_memory(name, net):
    run = setting(name, net)
    carry = run.state.carry
    if not carry.memory:
        return

    def loss(memory):
        return run.objective.loss(run.state.params, carry._replace(memory=memory), run.batch, key=KEY, step=jnp.int32(0))[0]

    for leaf in jax.tree.leaves(jax.jit(jax.grad(loss))(carry.memory)):
        assert not np.any(leaf)


def double(array):
    """A copy in float64 where it is float32."""
    return jnp.array(array, jnp.float64 if jnp.result_type(array) == jnp.float32 else None)


@pytest.mark.parametrize(("name", "net", "driver"), EIGHT)
def test_eight_devices_are_one(name, net, driver):
    """Where a ReLU's unit lies at its kink, rounding moves gradients by more than the bound; a mistake would be as large in float64."""
    eight, one = trained(name, net, driver, 8, 2)[0], on_one_device(name, net)[0]
    if difference(eight.leaves, one.leaves) > 1e-5:
        with jax.enable_x64(True):
            eight, one = (trained(name, net, driver, count, 2, form=double)[0] for count in (8, 1))
        assert difference(eight.leaves, one.leaves) <= 1e-12
    assert eight.metrics.keys() == one.metrics.keys()
    for metric, value in one.metrics.items():
        np.testing.assert_allclose(eight.metrics[metric], value, rtol=1e-3, atol=1e-6, err_msg=metric)
