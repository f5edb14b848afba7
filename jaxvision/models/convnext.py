"""ConvNeXt (Liu et al., "A ConvNet for the 2020s", 2022) and ConvNeXt V2 (Woo et al., 2023), as torchvision and timm build them."""

from typing import Any, NamedTuple

import jax
from flax import linen as nn

from jaxvision.layers import (
    Conv,
    Dense,
    DropPath,
    GlobalResponseNorm,
    Head,
    LayerNorm,
    LayerScale,
    PatchStem,
    check_input,
    drop_path_rates,
    global_mean,
)
from jaxvision.layers.initializers import truncated_normal
from jaxvision.typing import Array, Features

_INIT = {"kernel_init": truncated_normal(), "bias_init": nn.initializers.zeros}


class Block(nn.Module):
    """A 7 x 7 depthwise convolution, a norm and a perceptron beside a shortcut; V1 scales the branch, V2 has GRN in the perceptron."""

    response: bool
    pointwise: bool
    drop_path_rate: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        width, options = x.shape[-1], _INIT | {"dtype": self.dtype}

        def mix(features: int, name: str) -> nn.Module:
            return Conv(features, 1, name=name, **options) if self.pointwise else Dense(features, name=name, **options)

        branch = Conv(width, 7, padding=3, groups=width, name="depthwise", **options)(x)
        branch = LayerNorm(dtype=self.dtype, name="norm")(branch)
        branch = jax.nn.gelu(mix(4 * width, "expand")(branch), approximate=False)
        if self.response:
            branch = GlobalResponseNorm(name="response")(branch)
        branch = mix(width, "contract")(branch)
        if not self.response:
            branch = LayerScale(name="layer_scale")(branch)
        return x + DropPath(self.drop_path_rate)(branch, train=train)


class Stage(nn.Module):
    """Blocks of one width; all stages but the first halve the resolution before them, behind a norm."""

    width: int
    first: bool
    response: bool
    pointwise: bool
    drop_path_rates: tuple[float, ...]  # one a block
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        if not self.first:
            x = LayerNorm(dtype=self.dtype, name="norm")(x)
            x = Conv(self.width, 2, 2, dtype=self.dtype, name="conv", **_INIT)(x)
        for index, rate in enumerate(self.drop_path_rates):
            x = Block(self.response, self.pointwise, rate, self.dtype, name=f"block{index + 1}")(x, train=train)
        return x


class ConvNeXt(nn.Module):
    """A stem, four stages, a norm of the mean over all places and a linear head."""

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    response: bool  # V2: global response normalisation for LayerScale
    pointwise: bool  # the perceptron's kernels are kept as 1 x 1 convolutions
    num_classes: int = 1000
    drop_rate: float = 0.0  # before the head
    drop_path_rate: float = 0.0  # of the last block; rises linearly from 0
    dtype: Any = None
    in_channels: int | None = None  # None: those of the first image

    def setup(self):
        self.stem = PatchStem(self.widths[0], dtype=self.dtype, **_INIT)
        for index, rates in enumerate(drop_path_rates(self.drop_path_rate, self.depths)):
            stage = Stage(self.widths[index], index == 0, self.response, self.pointwise, rates, self.dtype)
            setattr(self, f"stage{index + 1}", stage)
        self.norm = LayerNorm(dtype=self.dtype)
        self.head = Head(self.num_classes, self.drop_rate, self.dtype, **_INIT)

    def features(self, image: Array, *, train: bool = False, keep: Array | None = None, mask: Array | None = None) -> Features:
        """Features of images [B, H, W, C], 32 x 32 or larger: pooled [B, D]; maps "stride4" to "stride32", one a stage.

        Raises ValueError for a smaller image, and for ``keep`` or ``mask``, which it does not have.
        """
        check_input("ConvNeXt", image, channels=self.in_channels, least=32, keep=keep, mask=mask)
        x, maps = self.stem(image), {}
        for index in range(len(self.depths)):
            x = maps[f"stride{4 * 2**index}"] = getattr(self, f"stage{index + 1}")(x, train=train)
        pooled = global_mean(x)
        return Features(self.norm(pooled).astype(pooled.dtype), None, maps)

    def __call__(self, image: Array, *, train: bool = False) -> Array:
        """Logits [B, K] float32; pooled features [B, D] where ``num_classes`` is 0."""
        return self.head(self.features(image, train=train).pooled, train=train)


class Size(NamedTuple):
    """Blocks and channels of each stage; whether it is V2, and whether timm keeps its perceptrons as 1 x 1 convolutions."""

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    response: bool = False
    pointwise: bool = False


def _doubling(width: int) -> tuple[int, ...]:
    return tuple(width * 2**stage for stage in range(4))


MODELS = {
    "convnext_tiny": Size((3, 3, 9, 3), _doubling(96)),
    "convnext_small": Size((3, 3, 27, 3), _doubling(96)),
    "convnext_base": Size((3, 3, 27, 3), _doubling(128)),
    "convnext_large": Size((3, 3, 27, 3), _doubling(192)),
    "convnextv2_atto": Size((2, 2, 6, 2), _doubling(40), True, True),
    "convnextv2_femto": Size((2, 2, 6, 2), _doubling(48), True, True),
    "convnextv2_pico": Size((2, 2, 6, 2), _doubling(64), True, True),
    "convnextv2_nano": Size((2, 2, 8, 2), _doubling(80), True, True),
    "convnextv2_tiny": Size((3, 3, 9, 3), _doubling(96), True),
    "convnextv2_base": Size((3, 3, 27, 3), _doubling(128), True),
    "convnextv2_large": Size((3, 3, 27, 3), _doubling(192), True),
    "convnextv2_huge": Size((3, 3, 27, 3), _doubling(352), True),
}


def build(
    name: str,
    *,
    num_classes: int = 1000,
    in_channels: int | None = None,
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    dtype: Any = None,
) -> ConvNeXt:
    """A row of the table."""
    return ConvNeXt(
        *MODELS[name], num_classes=num_classes, drop_rate=drop_rate, drop_path_rate=drop_path_rate, dtype=dtype, in_channels=in_channels
    )
