"""CIFAR-10 in seconds: whole epochs as one program over images that stay on the device (Jordan, "94% on CIFAR-10 in 3.29 Seconds on a
Single GPU", 2024, and its successor with Muon).

    python -m experiments.speedrun_cifar10 --data FOLDER_OR_NPZ [--epochs 8] [--dtype bfloat16]

A small network whose first layer whitens patches and is never trained; flips that alternate from epoch to epoch; Muon for the kernels of
the convolutions and SGD for all other parameters, with rates that fall to zero.
Expected: 5 epochs of 20,000 of the 50,000 images in batches of 1,000 end at 90.4 % (seed 0), the same recipe in PyTorch at 89.9 %; it took
0.61 of PyTorch's time on 2 CPU cores (docs/performance.md). The author's 94 % in 8 epochs of all images on a GPU was not run here.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import jaxvision as jv
from experiments import cifar10
from jaxvision.kernels import gelu
from jaxvision.layers import BatchNorm, Conv, Dense, max_pool
from jaxvision.layers.initializers import torch_default
from jaxvision.typing import Array

WIDTHS = (64, 256, 256)


@dataclasses.dataclass(frozen=True, eq=False)
class Fixed:
    """An initializer that returns one array. Its ``repr`` depends on the array, so that a run folder distinguishes data sets."""

    array: np.ndarray = dataclasses.field(repr=False)

    def __call__(self, key, shape: tuple[int, ...], dtype) -> Array:
        return jnp.asarray(self.array.reshape(shape), dtype)


def whitens(train, *, epsilon: float = 5e-4) -> Fixed:
    """A kernel [2, 2, C, 8 C] whose outputs on patches of the first 5,000 images are uncorrelated, of variance 1, and their negatives."""
    image = jv.evaluate.prepared(train.take(np.arange(min(5000, len(train))))["image"], jv.augment.cifar_eval())  # [N, H, W, C]
    windows = np.lib.stride_tricks.sliding_window_view(np.asarray(image), (2, 2), axis=(1, 2))  # [N, H - 1, W - 1, C, 2, 2]
    patches = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, 4 * image.shape[3]).astype(np.float64)
    variances, directions = np.linalg.eigh(np.cov(patches, rowvar=False, bias=True))
    filters = directions / np.sqrt(variances + epsilon)  # [4 C, 4 C], one a column
    return Fixed(np.concatenate([filters, -filters], axis=1).reshape(2, 2, image.shape[3], -1))


def identity_first(key, shape: tuple[int, ...], dtype=jnp.float32) -> Array:
    """A kernel whose first outputs equal its inputs (Dirac); the others are initialized as in PyTorch."""
    drawn, (rows, columns, inputs, outputs) = torch_default(key, shape, dtype), shape
    same = min(inputs, outputs)
    return drawn.at[..., :same].set(0).at[rows // 2, columns // 2, jnp.arange(same), jnp.arange(same)].set(1)


class Stage(nn.Module):
    """Convolution, pooling to half the size, one more convolution, both with norm and GELU: [B, H, W, C] -> [B, H / 2, W / 2, D]."""

    features: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        for number in (1, 2):
            x = Conv(self.features, 3, padding=1, use_bias=False, dtype=self.dtype, kernel_init=identity_first, name=f"conv{number}")(x)
            x = max_pool(x, 2, stride=2) if number == 1 else x
            x = gelu(BatchNorm(momentum=0.4, epsilon=1e-12, dtype=self.dtype, name=f"norm{number}")(x, train=train))
        return x


class SpeedNet(nn.Module):
    """2.0 million parameters for images [B, 32, 32, C]; evaluation averages the logits of each image and of its horizontal flip."""

    first: Callable  # the initializer of the whitening kernel
    channels: int = 3
    num_classes: int = 10
    dtype: Any = None

    def setup(self):
        self.stem = Conv(8 * self.channels, 2, dtype=self.dtype, kernel_init=self.first, bias_init=nn.initializers.zeros)
        self.stage1, self.stage2, self.stage3 = (Stage(width, self.dtype) for width in WIDTHS)
        self.head = Dense(self.num_classes, use_bias=False, dtype=self.dtype, kernel_init=nn.initializers.normal(1.0))

    def logits(self, image: Array, *, train: bool) -> Array:
        """[B, 32, 32, C] -> [B, K], without the flipped images."""
        x = gelu(self.stem(image))
        for stage in (self.stage1, self.stage2, self.stage3):
            x = stage(x, train=train)
        pooled = max_pool(x, 3, stride=3).reshape(len(image), -1)
        return self.head(pooled).astype(jnp.float32) / pooled.shape[1]

    def __call__(self, image: Array, *, train: bool = False) -> Array:
        """[B, 32, 32, C] -> logits [B, K] float32."""
        if train:
            return self.logits(image, train=True)
        return (self.logits(image, train=False) + self.logits(image[:, :, ::-1], train=False)) / 2


def keep_norm() -> optax.GradientTransformation:
    """Scale every updated kernel [..., D] to the norm sqrt(D). A normalization follows each kernel, so that its scale has no effect."""

    def on_sphere(update: Array, kernel: Array) -> Array:
        moved = kernel + update
        return moved * (kernel.shape[-1] ** 0.5 / jnp.linalg.norm(moved)) - kernel

    return optax.stateless(lambda updates, params: jax.tree.map(on_sphere, updates, params))


def optimizer_of(steps: int, batch_size: int, *, rate: float, bias_rate: float, head_rate: float, decay: float, whitening_steps: int):
    """Muon for convolutions, SGD with Nesterov momentum 0.85 for biases and head, nothing for the whitening kernel and the norms' scales.

    The rates of SGD are of a loss that is summed over the batch, as the recipe's author gives them.
    """

    def label(params):
        def kind(path, _) -> str:
            names = [step.key for step in path]
            if names[-1] == "scale" or names[-2:] == ["stem", "kernel"]:
                return "still"
            return "stem" if "stem" in names else "vectors" if names[-1] == "bias" else "head" if "head" in names else "convolutions"

        return jax.tree_util.tree_map_with_path(kind, params)

    def descend(rate: float, steps: int) -> optax.GradientTransformation:
        rate = rate * batch_size
        schedule, weight_decay = optax.linear_schedule(rate, 0.0, steps), decay * batch_size / rate
        return jv.train.momentum(schedule, beta=0.85, nesterov=True, weight_decay=weight_decay, decay_mask=None)

    turned = jv.train.muon(optax.linear_schedule(rate, 0.0, steps), beta=0.6, rms=None, weight_decay=0.0)
    parts = {"convolutions": optax.chain(turned, keep_norm()), "vectors": descend(bias_rate, steps), "head": descend(head_rate, steps)}
    return optax.partition({**parts, "stem": descend(bias_rate, whitening_steps), "still": optax.set_to_zero()}, label)


def whitening_steps(steps: int, share: float) -> int:
    """The number of steps in which the bias of the whitening layer is trained; at least one."""
    return max(1, round(steps * min(1.0, share)))


def config(
    *,
    data: Path | None = None,
    epochs: int = 8,
    batch_size: int = 2000,
    learning_rate: float = 0.24,
    bias_rate: float = 0.053,
    head_rate: float = 0.67,
    weight_decay: float = 2e-6,
    whitening_epochs: float = 3.0,
    dtype: str = "float32",
    seed: int = 0,
    smoke: bool = False,
) -> jv.train.Experiment:
    """Train a small convolutional network on small photographs in little time.

    Args:
        data: CIFAR-10 folder or archive, or an .npz file.
        epochs: Passes over the training images.
        batch_size: Images in a step, over all devices.
        learning_rate: Initial rate of Muon; all rates fall linearly to zero.
        bias_rate: Of the biases, for a loss that is summed over the batch.
        head_rate: Of the head, likewise.
        weight_decay: Of biases and head, for each image of a batch.
        whitening_epochs: Epochs in which the bias behind the whitening layer is trained.
        dtype: Compute type, float32 or bfloat16; parameters stay float32.
        seed: Decides initialization, data order and augmentation.
        smoke: A few steps on synthetic images, to see that everything works.
    """
    train, test = cifar10(data, smoke=smoke)
    if smoke:
        train, test = (jv.data.arrays(np.stack([example["image"] for example in source]), source.labels) for source in (train, test))
        epochs, batch_size = 1, 16
    model = SpeedNet(whitens(train), train[0]["image"].shape[2], len(train.classes), dtype)
    steps = jv.train.total_steps(train, epochs=epochs, batch_size=batch_size)
    rates = {"rate": learning_rate, "bias_rate": bias_rate, "head_rate": head_rate}
    shift = jv.augment.random_crop(32, padding=2, mode="reflect")
    return jv.train.Experiment(
        model,
        jv.objectives.supervised(model, label_smoothing=0.2),
        optimizer_of(steps, batch_size, **rates, decay=weight_decay, whitening_steps=whitening_steps(steps, whitening_epochs / epochs)),
        train,
        test=test,
        epochs=epochs,
        batch_size=batch_size,
        augment=jv.augment.chain(
            jv.augment.alternating_horizontal_flip(), jv.augment.each(jv.augment.chain(shift, jv.augment.cifar_eval()))
        ),
        recipe=jv.augment.cifar_eval(),
        seed=seed,
    )


def run_options(experiment: jv.train.Experiment, **_) -> jv.train.RunOptions:
    """Images on the device, and each epoch as one program."""
    epoch = -(-len(experiment.train) // experiment.batch_size)
    return jv.train.RunOptions(resident=True, steps_per_call=epoch, title="CIFAR-10 speed run")


if __name__ == "__main__":
    jv.train.main(config, options=run_options)
