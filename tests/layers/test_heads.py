"""Heads of the methods that compare views, beside their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.layers import Projector, PrototypeHead

FEATURES = np.random.default_rng(0).standard_normal((6, 8)).astype(np.float32)


def standard(rows: np.ndarray) -> np.ndarray:
    return (rows - rows.mean(axis=0)) / np.sqrt(rows.var(axis=0) + 1e-5)


@pytest.mark.parametrize("last_norm", [False, True])
def test_the_projector_is_two_layers_with_a_norm_between(last_norm):
    module = Projector(4, 16, last_norm)
    variables = module.init(jax.random.key(0), FEATURES, train=True)
    output, moved = module.apply(variables, FEATURES, train=True, mutable=["batch_stats"])
    params = jax.tree.map(np.asarray, variables["params"])
    expected = np.maximum(standard(FEATURES @ params["dense1"]["kernel"]), 0) @ params["dense2"]["kernel"]
    np.testing.assert_allclose(output, standard(expected) if last_norm else expected, rtol=1e-4, atol=1e-5)
    assert {name: set(part) for name, part in params.items()} == {
        "dense1": {"kernel"},
        "norm1": {"scale", "bias"},
        "dense2": {"kernel"},
        **({"norm2": {"scale", "bias"}} if last_norm else {}),
    }
    assert not np.array_equal(moved["batch_stats"]["norm1"]["mean"], np.zeros(16))


def test_the_default_width_of_the_projector_is_that_of_the_features():
    params = Projector(4).init(jax.random.key(0), FEATURES, train=False)["params"]
    assert params["dense1"]["kernel"].shape == (8, 8)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_the_prototype_head_is_three_layers_and_its_prototypes(batch_norm):
    module = PrototypeHead(10, 16, 5, batch_norm=batch_norm)
    variables = module.init(jax.random.key(0), FEATURES)
    params, views = variables["params"], jnp.stack([FEATURES, FEATURES])
    (embeddings, prototypes), moved = module.apply(variables, views, train=True, mutable=["batch_stats"])
    hidden = FEATURES
    for name in ("dense1", "dense2", "dense3"):
        hidden = hidden @ params[name]["kernel"] + params[name]["bias"]
        hidden = standard(hidden) if batch_norm and name != "dense3" else hidden
        hidden = jax.nn.gelu(hidden, approximate=False) if name != "dense3" else hidden
    np.testing.assert_allclose(embeddings[1], hidden, rtol=1e-4, atol=1e-5 if batch_norm else 1e-6)
    assert set(moved.get("batch_stats", {})) == ({"norm1", "norm2"} if batch_norm else set())
    np.testing.assert_array_equal(prototypes, params["prototypes"])
    assert prototypes.shape == (10, 5) and not np.any(params["dense1"]["bias"])


def test_the_papers_sizes_are_the_defaults():
    shapes = jax.eval_shape(PrototypeHead(65536).init, jax.random.key(0), jnp.zeros((1, 384)))["params"]
    sizes = {name: (part["kernel"] if name != "prototypes" else part).shape for name, part in shapes.items()}
    assert sizes == {"dense1": (384, 2048), "dense2": (2048, 2048), "dense3": (2048, 256), "prototypes": (65536, 256)}
