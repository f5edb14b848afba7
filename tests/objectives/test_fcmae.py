"""FCMAE: the decoder written out, the paper's counts, hidden pixels as targets alone, pictures, refusals."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from jaxvision.models.convnext import ConvNeXt
from tests.layers.test_masked_blocks import sparse_block
from tests.marks import slow
from tests.models.test_contract import count
from tests.objectives.masks import as_pixels, hidden_patches

KEY = jax.random.key(0)
ENCODER = ConvNeXt((1, 1), (4, 6), True, True, num_classes=0, patch_size=2)  # patches of 4 x 4 pixels


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape).astype(np.float32)


@functools.cache
def drawn(rows: int = 12, columns: int = 16) -> dict:
    """Parameters of the size of one, in float64."""
    generator = np.random.default_rng(1)
    init = jv.objectives.fcmae(ENCODER, width=8).init
    shapes, _ = jax.eval_shape(lambda image: init(KEY, {"image": image}), jnp.zeros((1, rows, columns, 3)))
    return jax.tree.map(lambda leaf: 0.4 * generator.standard_normal(leaf.shape), shapes)


def test_the_loss_written_out():
    objective, params, image = jv.objectives.fcmae(ENCODER, width=8), drawn(), images(3, 12, 16, 3).astype(np.float64)
    key = jax.random.key(4)
    with jax.enable_x64(True):
        found, _ = jax.jit(objective.loss)(params, jv.Carry({}, {}), {"image": image}, key=key, step=0)
        mask = hidden_patches(jv.objectives.fcmae_reconstruction(ENCODER, params, image, key=key), 4).astype(float)
        look = jax.jit(functools.partial(ENCODER.apply, method="features"))
        features = look({"params": params["encoder"]}, image, mask=mask.reshape(3, 3, 4))
    last, decoder = np.asarray(features.maps["stride4"]), params["decoder"]
    assert np.all(mask.sum(1) == 7)
    errors = []
    for example in range(3):
        x = last[example] @ decoder["project"]["kernel"][0, 0] + decoder["project"]["bias"]
        x[mask[example].reshape(3, 4) == 1] = decoder["mask_token"][0]
        x = sparse_block(decoder["block1"], x, np.ones((3, 4), bool))
        predicted = (x @ decoder["predict"]["kernel"][0, 0] + decoder["predict"]["bias"]).reshape(12, 48)
        for place in np.flatnonzero(mask[example]):
            row, column = 4 * (place // 4), 4 * (place % 4)
            target = image[example, row : row + 4, column : column + 4].reshape(-1)
            target = (target - target.mean()) / np.sqrt(target.var(ddof=1) + 1e-6)
            errors.append(np.mean((predicted[place] - target) ** 2))
    np.testing.assert_allclose(found, np.mean(errors), rtol=1e-10)


def test_targets_may_be_pixels_and_half_of_them_hidden():
    options = {"mask_ratio": 0.5, "normalize_target": False}
    objective, image = jv.objectives.fcmae(ENCODER, width=8, **options), images(2, 12, 16, 3)
    params, carry = jax.tree.map(np.float32, drawn()), jv.Carry({}, {})
    loss, _ = jax.jit(objective.loss)(params, carry, {"image": image}, key=KEY, step=0)
    draw = functools.partial(jv.objectives.fcmae_reconstruction, ENCODER, **options)
    made = jax.jit(draw)(params, image, key=KEY).reconstruction
    np.testing.assert_allclose(loss, 2 * np.mean((made - image) ** 2), rtol=1e-5)  # visible pixels have no error


@pytest.mark.parametrize(("name", "decoder"), [("atto", 3_871_232), slow("tiny", 4_100_608), slow("base", 4_231_680)])
def test_the_papers_decoder(name, decoder):
    """Width 512 and one block: a projection of D channels, the token, the block and 32 x 32 x 3 outputs."""
    encoder = jv.create_model(f"convnextv2_{name}", num_classes=0)
    init = jv.objectives.fcmae(encoder).init
    params, _ = jax.eval_shape(lambda image: init(KEY, {"image": image}), jnp.zeros((1, 224, 224, 3)))
    block = 50 * 512 + 2 * 512 + 513 * 2048 + 2 * 2048 + 2049 * 512
    assert decoder == 513 + encoder.widths[-1] * 512 - 1 + 512 + block + 513 * 3072
    assert count(params["decoder"]) == decoder


def test_hidden_pixels_reach_the_loss_as_targets_alone():
    """With the target taken away, no hidden pixel moves the loss, and its gradient is exactly zero."""
    objective, params, image = jv.objectives.fcmae(ENCODER, width=8), jax.tree.map(np.float32, drawn()), images(2, 12, 16, 3)
    hidden = as_pixels(hidden_patches(jv.objectives.fcmae_reconstruction(ENCODER, params, image, key=KEY), 4), 4, (3, 4))

    def predicted(image):
        pictures = jv.objectives.fcmae_reconstruction(ENCODER, params, image, key=KEY, normalize_target=False)
        return pictures.reconstruction

    other = np.where(hidden, 5 * image - 1, image)
    seen, changed = (np.where(hidden, jax.jit(predicted)(pixels), 0) for pixels in (image, other))
    np.testing.assert_array_equal(seen, changed)
    gradient = jax.jit(jax.grad(lambda image: jnp.sum(jnp.where(hidden, jnp.sin(predicted(image)), 0))))(image)
    assert not np.any(np.where(hidden, gradient, 0)) and np.any(gradient)
    step = functools.partial(jax.jit(objective.loss), params, jv.Carry({}, {}), key=KEY, step=0)
    assert step({"image": image})[0] != step({"image": np.where(hidden, image**2, image)})[0]


def test_pictures_honest_and_oracle():
    params, image = jax.tree.map(np.float32, drawn()), images(2, 12, 16, 3)
    draw = functools.partial(jv.objectives.fcmae_reconstruction, ENCODER, params, key=KEY)
    hidden = as_pixels(hidden_patches(jv.objectives.fcmae_reconstruction(ENCODER, params, image, key=KEY), 4), 4, (3, 4))
    honest = draw(image)
    np.testing.assert_array_equal(np.where(hidden, 0, honest.reconstruction), np.where(hidden, 0, image))
    np.testing.assert_array_equal(draw(np.where(hidden, 2 * image, image)).reconstruction, honest.reconstruction)
    assert not np.allclose(draw(image, honest=False).reconstruction, honest.reconstruction)


def test_refusals():
    batch = {"image": jnp.zeros((2, 32, 32, 3))}
    for encoder, name in (
        (jv.create_model("vit_tiny_patch16_224", num_classes=0), "encoder"),
        (jv.create_model("resnet18", num_classes=0, stem="cifar"), "mask"),
    ):
        with pytest.raises(ValueError, match=name):
            jax.eval_shape(jv.objectives.fcmae(encoder).init, KEY, batch)
    objective = jv.objectives.fcmae(ENCODER)
    with pytest.raises(ValueError, match="image"):
        jax.eval_shape(objective.init, KEY, {"image": jnp.zeros((2, 13, 16, 3))})
    with pytest.raises(ValueError, match="batch"):
        objective.init(KEY, {"label": jnp.zeros(2)})
    small = {"image": jnp.zeros((2, 4, 4, 3))}
    params, carry = jax.eval_shape(objective.init, KEY, small)
    with pytest.raises(ValueError, match="mask_ratio"):
        jax.eval_shape(functools.partial(objective.loss, key=KEY, step=0), params, carry, small)
