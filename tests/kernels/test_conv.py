"""conv2d: every form equals the definition, XLA's plain form and PyTorch, in value and in gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.kernels import conv2d, native, plain_conv2d
from tests.oracles import convolution

CASES = {  # name: image, kernel, options, what computes it on CPU: a matrix product, a compiled kernel or XLA's convolution
    "1x1": ((2, 4, 5, 3), (1, 1, 3, 4), {}, "product"),
    "1x1 stride 2, odd": ((2, 5, 7, 3), (1, 1, 3, 4), {"stride": (2, 2)}, "product"),
    "1x1 stride (2, 3)": ((1, 5, 7, 3), (1, 1, 3, 4), {"stride": (2, 3)}, "product"),
    "1x1 padded": ((1, 4, 4, 7), (1, 1, 7, 4), {"padding": (1, 1)}, "compiled"),
    "patches": ((2, 4, 6, 3), (2, 2, 3, 4), {"stride": (2, 2)}, "product"),
    "patches with a rest": ((2, 5, 8, 3), (2, 3, 3, 4), {"stride": (2, 3)}, "product"),
    "patches, dilated": ((1, 7, 7, 2), (2, 2, 2, 3), {"stride": (2, 2), "dilation": (2, 2)}, "XLA"),
    "3x3": ((2, 5, 6, 3), (3, 3, 3, 4), {"stride": (2, 1), "padding": (1, 2)}, "compiled"),
    "grouped 1x1": ((2, 4, 4, 4), (1, 1, 2, 6), {"groups": 2}, "XLA"),
    "two features a channel": ((1, 6, 6, 4), (3, 3, 1, 8), {"padding": (1, 1), "groups": 4}, "XLA"),
    "depthwise, dilated": ((1, 7, 6, 4), (3, 3, 1, 4), {"padding": (1, 1), "groups": 4, "dilation": (2, 1)}, "XLA"),
    "dilated": ((1, 7, 8, 2), (3, 2, 2, 3), {"dilation": (2, 3), "padding": (2, 0)}, "XLA"),
}


def draw(image_shape, kernel_shape):
    generator = np.random.default_rng(0)
    return [generator.standard_normal(shape).astype(np.float32) for shape in (image_shape, kernel_shape)]


def value_and_gradients(function, image, kernel, options):
    """The output and both gradients of its dot product with fixed numbers, compiled once."""

    def run(image, kernel):
        out, back = jax.vjp(lambda image, kernel: function(image, kernel, **options), image, kernel)
        return out, *back(jnp.cos(jnp.arange(out.size, dtype=out.dtype)).reshape(out.shape))

    return jax.jit(run)(image, kernel)


@pytest.mark.parametrize("case", CASES)
def test_every_form_is_the_plain_form(case):
    image_shape, kernel_shape, options, form = CASES[case]
    image, kernel = draw(image_shape, kernel_shape)
    ours = value_and_gradients(conv2d, image, kernel, options)
    np.testing.assert_allclose(ours[0], convolution.conv2d(image, kernel, **options), rtol=1e-5, atol=1e-5)
    for one, other in zip(ours, value_and_gradients(plain_conv2d, image, kernel, options), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    program = str(jax.make_jaxpr(lambda image, kernel: conv2d(image, kernel, **options))(image, kernel))
    form = "XLA" if form == "compiled" and native.library() is None else form
    targets = {"product": "jaxvision_product", "compiled": "jaxvision_dense", "XLA": "conv_general"}
    assert [name for name, word in targets.items() if word in program] == [form]


@pytest.mark.parametrize("case", CASES)
def test_value_and_gradients_are_pytorchs(case):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: parity with PyTorch is NOT checked here")
    image_shape, kernel_shape, options, _ = CASES[case]
    image, kernel = draw(image_shape, kernel_shape)
    ours = value_and_gradients(conv2d, image, kernel, options)
    theirs_image = torch.tensor(image.transpose(0, 3, 1, 2), requires_grad=True)
    theirs_kernel = torch.tensor(kernel.transpose(3, 2, 0, 1), requires_grad=True)
    theirs = torch.nn.functional.conv2d(theirs_image, theirs_kernel, **options).permute(0, 2, 3, 1)
    theirs.backward(torch.tensor(np.cos(np.arange(ours[0].size, dtype=np.float32)).reshape(ours[0].shape)))
    np.testing.assert_allclose(ours[0], theirs.detach().numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(ours[1], theirs_image.grad.permute(0, 2, 3, 1).numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(ours[2], theirs_kernel.grad.permute(2, 3, 1, 0).numpy(), rtol=1e-5, atol=1e-5)


def test_a_convolution_computed_by_hand():
    image = jnp.array([[3, 3, 2, 1, 0], [0, 0, 1, 3, 1], [3, 1, 2, 2, 3], [2, 0, 0, 2, 2], [2, 0, 0, 0, 1]], jnp.float32)
    kernel = jnp.array([[0, 1, 2], [2, 2, 0], [0, 1, 2]], jnp.float32)
    found = conv2d(image[None, :, :, None], kernel[:, :, None, None])
    np.testing.assert_array_equal(found[0, :, :, 0], [[12, 12, 17], [10, 17, 19], [9, 6, 14]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding": "SAME"}, "padding"),
        ({"padding": -1}, "padding"),
        ({"stride": 0}, "stride"),
        ({"stride": (1, 2, 3)}, "stride"),
        ({"dilation": 1.5}, "dilation"),
        ({"dilation": 4}, "image"),
        ({"groups": 2}, "groups"),
        ({"groups": 0}, "groups"),
    ],
)
def test_refusals_name_the_argument(options, message):
    with pytest.raises(ValueError, match=message):
        conv2d(jnp.zeros((1, 4, 4, 3)), jnp.zeros((2, 2, 3, 4)), **options)


def test_wrong_ranks_are_refused():
    with pytest.raises(ValueError, match="image"):
        conv2d(jnp.zeros((4, 4, 3)), jnp.zeros((2, 2, 3, 4)))
