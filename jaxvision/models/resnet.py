"""Residual networks (He et al., "Deep Residual Learning for Image Recognition", 2015), as torchvision and timm build them.

ResNeXt (Xie et al., 2017) has grouped, Wide-ResNet (Zagoruyko & Komodakis, 2016) wider 3 x 3 convolutions, SE-ResNet (Hu et al., 2018)
squeeze-and-excitation in each block. The CIFAR variants (section 4.2) have shortcuts without parameters, their plain counterparts no
shortcuts. The stride of a bottleneck is in its 3 x 3 convolution; initialization and padding are torchvision's.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxvision import checks
from jaxvision.layers import (
    BatchNorm,
    Conv,
    DropPath,
    Head,
    SqueezeExcite,
    check_input,
    drop_path_rates,
    global_mean,
    max_pool,
    residual_output,
)
from jaxvision.layers.initializers import he_normal_fan_out
from jaxvision.typing import Array, Features


class Form(NamedTuple):
    """A block: channels and kernel sizes of its convolutions, groups of the 3 x 3 convolutions, and its style.

    Styles: "residual"; "squeezed", with squeeze-and-excitation; "free", whose shortcut has no parameters; "plain", without a shortcut.
    """

    features: tuple[int, ...]
    kernel_sizes: tuple[int, ...]
    groups: int = 1
    style: str = "residual"


class ResidualBlock(nn.Module):
    """Residual block: convolutions with BatchNorm and ReLU, and a shortcut. ``zero_init``: the scale of the last norm begins at zero."""

    form: Form
    stride: int = 1  # of the first 3 x 3 convolution
    zero_init: bool = False
    drop_path_rate: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        options = {"use_bias": False, "dtype": self.dtype, "kernel_init": he_normal_fan_out}
        form, branch = self.form, x
        for index, (features, size) in enumerate(zip(form.features, form.kernel_sizes, strict=True)):
            last = index == len(form.features) - 1
            stride = self.stride if index == form.kernel_sizes.index(3) else 1
            groups = form.groups if size == 3 else 1
            branch = Conv(features, size, stride, size // 2, groups=groups, name=f"conv{index + 1}", **options)(branch)
            zero = nn.initializers.zeros if last and self.zero_init else nn.initializers.ones
            branch = BatchNorm(dtype=self.dtype, scale_init=zero, name=f"norm{index + 1}")(branch, train=train)
            branch = branch if last else jax.nn.relu(branch)
        if form.style == "squeezed":
            branch = SqueezeExcite(max(8, form.features[-1] // 16), dtype=self.dtype, name="squeeze")(branch)
        if form.style == "plain":
            return jax.nn.relu(branch)
        if form.style == "free":
            x = x[:, :: self.stride, :: self.stride]
            x = jnp.pad(x, ((0, 0),) * 3 + (((form.features[-1] - x.shape[-1]) // 2,) * 2,))
        elif self.stride != 1 or x.shape[-1] != form.features[-1]:
            x = Conv(form.features[-1], 1, self.stride, name="shortcut_conv", **options)(x)
            x = BatchNorm(dtype=self.dtype, name="shortcut_norm")(x, train=train)
        return residual_output(jax.nn.relu(x + DropPath(self.drop_path_rate)(branch, train=train)))


class Stem(nn.Module):
    """7 x 7 convolution at stride 2 and max pooling ("imagenet"), or a 3 x 3 convolution ("cifar"; "padded": with 2 pixels of padding)."""

    kind: str
    width: int = 64
    dtype: Any = None

    @nn.compact
    def __call__(self, image: Array, *, train: bool) -> Array:
        size, stride = (7, 2) if self.kind == "imagenet" else (3, 1)
        padding = 2 if self.kind == "padded" else size // 2  # as in solo-learn; each map is larger by 2
        conv = Conv(self.width, size, stride, padding, use_bias=False, dtype=self.dtype, kernel_init=he_normal_fan_out, name="conv")
        x = jax.nn.relu(BatchNorm(dtype=self.dtype, name="norm")(conv(image), train=train))
        return max_pool(x, 3, stride=2, padding=1) if self.kind == "imagenet" else x


class Stage(nn.Module):
    """Blocks of one form; the first may halve the resolution."""

    form: Form
    stride: int
    drop_path_rates: tuple[float, ...]  # one per block
    zero_init: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        for index, rate in enumerate(self.drop_path_rates):
            stride = self.stride if index == 0 else 1
            x = ResidualBlock(self.form, stride, self.zero_init, rate, self.dtype, name=f"block{index + 1}")(x, train=train)
        return x


class ResNet(nn.Module):
    """A stem, stages of residual blocks, global average pooling and a linear head."""

    depths: tuple[int, ...]
    bottleneck: bool
    style: str = "residual"
    groups: int = 1
    group_width: int = 64  # of a bottleneck's 3 x 3 convolution in the first stage
    num_classes: int = 1000
    stem_kind: str = "imagenet"
    zero_init_residual: bool = False
    drop_rate: float = 0.0  # before the head
    drop_path_rate: float = 0.0  # of the last block; rises linearly from 0
    dtype: Any = None
    in_channels: int | None = None  # None: those of the first image

    def setup(self):
        first = 16 if self.style in ("free", "plain") else 64
        self.stem = Stem(self.stem_kind, first, self.dtype)
        for index, rates in enumerate(drop_path_rates(self.drop_path_rate, self.depths)):
            width, middle = first * 2**index, self.groups * self.group_width * 2**index
            features, sizes = ((middle, middle, 4 * width), (1, 3, 1)) if self.bottleneck else ((width, width), (3, 3))
            form = Form(features, sizes, self.groups, self.style)
            stage = Stage(form, 1 if index == 0 else 2, rates, self.zero_init_residual, self.dtype)
            setattr(self, f"stage{index + 1}", stage)
        self.head = Head(self.num_classes, self.drop_rate, self.dtype)

    def features(self, image: Array, *, train: bool = False, keep: Array | None = None, mask: Array | None = None) -> Features:
        """Features of images [B, H, W, C]: pooled [B, D]; maps "stride4" to "stride32", one per stage (from "stride1" with the CIFAR stem).

        Raises ValueError for ``keep`` or ``mask``, which it does not support.
        """
        check_input("ResNet", image, channels=self.in_channels, keep=keep, mask=mask)
        x, maps, first = self.stem(image, train=train), {}, 4 if self.stem_kind == "imagenet" else 1
        for index in range(len(self.depths)):
            x = maps[f"stride{first * 2**index}"] = getattr(self, f"stage{index + 1}")(x, train=train)
        return Features(global_mean(x), None, maps)

    def __call__(self, image: Array, *, train: bool = False) -> Array:
        """Logits [B, K] float32; pooled features [B, D] if ``num_classes`` is 0."""
        return self.head(self.features(image, train=train).pooled, train=train)


class Size(NamedTuple):
    """Blocks per stage, whether they are bottlenecks, their style, groups and width of a group in the first stage."""

    depths: tuple[int, ...]
    bottleneck: bool
    style: str = "residual"
    groups: int = 1
    group_width: int = 64


DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
_CIFAR = (20, 32, 44, 56, 110)  # 6 n + 2 layers
MODELS = {
    **{f"resnet{layers}": Size(depths, layers >= 50) for layers, depths in DEPTHS.items()},
    "resnext50_32x4d": Size(DEPTHS[50], True, groups=32, group_width=4),
    "resnext101_32x8d": Size(DEPTHS[101], True, groups=32, group_width=8),
    "resnext101_64x4d": Size(DEPTHS[101], True, groups=64, group_width=4),
    "wide_resnet50_2": Size(DEPTHS[50], True, group_width=128),
    "wide_resnet101_2": Size(DEPTHS[101], True, group_width=128),
    **{f"seresnet{layers}": Size(depths, layers >= 50, "squeezed") for layers, depths in DEPTHS.items()},
    **{f"resnet{layers}": Size((layers // 6,) * 3, False, "free") for layers in _CIFAR},
    **{f"plain{layers}": Size((layers // 6,) * 3, False, "plain") for layers in _CIFAR},
}


def build(
    name: str,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    stem: str | None = None,
    zero_init_residual: bool = False,
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    dtype: Any = None,
) -> ResNet:
    """Create a row of ``MODELS``. ``zero_init_residual``: each block begins as its shortcut. ``stem``: "imagenet", "cifar" or "padded".

    The defaults are the "cifar" stem and 10 classes for the CIFAR variants, "imagenet" and 1,000 for others; "padded" is solo-learn's stem
    for CIFAR. Raises ValueError for another stem, and for options about shortcuts if the row has none.
    """
    size = MODELS[name]
    own_stem, own_classes = ("cifar", 10) if size.style in ("free", "plain") else ("imagenet", 1000)
    stem = own_stem if stem is None else stem
    checks.one_of("stem", stem, ("imagenet", "cifar", "padded"))
    if size.style == "plain" and drop_path_rate:
        raise ValueError(f"drop_path_rate: found {drop_path_rate}, expected 0: {name} has no residual branch to drop")
    if size.style == "plain" and zero_init_residual:
        raise ValueError(f"zero_init_residual: found True, expected False: {name} has no shortcuts, and its blocks would stay zero")
    return ResNet(
        *size,
        num_classes=own_classes if num_classes is None else num_classes,
        stem_kind=stem,
        zero_init_residual=zero_init_residual,
        drop_rate=drop_rate,
        drop_path_rate=drop_path_rate,
        dtype=dtype,
        in_channels=in_channels,
    )
