"""The parts of a transformer, and the linear layers' types, against PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.layers import MLP, Conv, Dense, SelfAttention, TransformerBlock, check_input, resize_position
from tests.marks import slow

NO_TORCH = "PyTorch is not installed: parity with PyTorch is NOT checked here"
TOKENS = np.random.default_rng(0).standard_normal((2, 5, 12)).astype(np.float32)


def randomised(layer) -> dict:
    """Parameters of the size of one, biases too, so that no part of the layer hides."""
    options = {"train": False} if isinstance(layer, TransformerBlock) else {}
    shapes = jax.eval_shape(lambda key: layer.init(key, TOKENS, **options), jax.random.key(0))
    generator = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: (0.4 * generator.standard_normal(leaf.shape)).astype(np.float32), shapes)


def test_self_attention_is_pytorchs():
    torch = pytest.importorskip("torch", reason=NO_TORCH)
    layer = SelfAttention(3)
    variables = randomised(layer)
    joint, project = (jax.tree.map(torch.tensor, variables["params"][name]) for name in ("qkv", "project"))
    network = torch.nn.MultiheadAttention(12, 3, batch_first=True)
    network.load_state_dict(
        {
            "in_proj_weight": joint["kernel"].T,
            "in_proj_bias": joint["bias"],
            "out_proj.weight": project["kernel"].T,
            "out_proj.bias": project["bias"],
        }
    )
    theirs, _ = network(*[torch.tensor(TOKENS)] * 3, need_weights=False)
    np.testing.assert_allclose(layer.apply(variables, TOKENS), theirs.detach().numpy(), atol=1e-5)
    with pytest.raises(ValueError, match="^heads:"):
        SelfAttention(5).init(jax.random.key(0), TOKENS)


LAYERS = {"attention": SelfAttention(3), "block": TransformerBlock(3), "gated": TransformerBlock(3, 0.5, True)}


@pytest.mark.parametrize("layer", [slow(LAYERS[name]) if name == "block" else LAYERS[name] for name in LAYERS], ids=LAYERS)
def test_picked_tokens_are_the_same_numbers_and_gradients(layer):
    variables, options = randomised(layer), {"train": False} if isinstance(layer, TransformerBlock) else {}
    places = np.array([[4, 0], [1, 2]])
    pick = lambda tokens: jnp.take_along_axis(tokens, places[:, :, None], axis=1)  # noqa: E731

    def found(after: bool):
        def value(variables, tokens):
            if after:
                return pick(layer.apply(variables, tokens, **options))
            return layer.apply(variables, tokens, **options, pick=pick)

        result, back = jax.vjp(value, variables, TOKENS)
        return result, *jax.tree.leaves(back(jnp.cos(result)))

    for ours, theirs in zip(found(False), found(True), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * max(1, np.abs(theirs).max()))


def test_a_dense_layer_computes_some_of_its_columns():
    variables = randomised(Dense(7))
    np.testing.assert_allclose(
        Dense(7).apply(variables, TOKENS, columns=slice(2, 5)), Dense(7).apply(variables, TOKENS)[..., 2:5], atol=1e-6
    )


def test_mlp_has_the_exact_gelu():
    torch = pytest.importorskip("torch", reason=NO_TORCH)
    layer = MLP(20)
    variables = randomised(layer)
    expand, contract = (jax.tree.map(torch.tensor, variables["params"][name]) for name in ("expand", "contract"))
    hidden = torch.nn.functional.gelu(torch.tensor(TOKENS) @ expand["kernel"] + expand["bias"])
    np.testing.assert_allclose(layer.apply(variables, TOKENS), (hidden @ contract["kernel"] + contract["bias"]).numpy(), atol=1e-5)


@pytest.mark.parametrize("after", [(3, 3), (4, 5), (2, 2), (7, 3)])
def test_positions_are_resampled_as_pytorch_does(after):
    torch = pytest.importorskip("torch", reason=NO_TORCH)
    table = np.random.default_rng(0).standard_normal((9, 5)).astype(np.float32)
    grid = torch.tensor(table).reshape(1, 3, 3, 5).permute(0, 3, 1, 2)  # [1, D, h, w]
    theirs = torch.nn.functional.interpolate(grid, size=after, mode="bicubic", antialias=True).permute(0, 2, 3, 1)
    np.testing.assert_allclose(resize_position(table, (3, 3), after), theirs.reshape(-1, 5).numpy(), atol=1e-5)  # [h' w', D]


@pytest.mark.parametrize(("layer", "shape"), [(Conv(4, 3), (1, 4, 4, 3)), (Dense(4), (2, 3))], ids=["conv", "dense"])
def test_parameters_stay_float32_and_dtype_is_the_type_of_the_computation(layer, shape):
    for dtype, expected in ((None, jnp.float32), ("bfloat16", jnp.bfloat16), (jnp.float16, jnp.float16)):
        out, variables = jax.eval_shape(layer.clone(dtype=dtype).init_with_output, jax.random.key(0), jnp.zeros(shape))
        assert out.dtype == expected
        assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    assert "bias" not in layer.clone(use_bias=False).init(jax.random.key(0), jnp.zeros(shape))["params"]


def test_the_door_names_model_and_argument():
    image = jnp.zeros((1, 4, 4, 3))
    check_input("Net", image)
    with pytest.raises(ValueError, match="^mask:"):
        check_input("Net", image, mask=image)
    with pytest.raises(ValueError, match="^image:"):
        check_input("Net", image[0])
    with pytest.raises(TypeError, match="^image:"):
        check_input("Net", image.astype(jnp.uint8))
