"""The masked autoencoder: PyTorch's numbers, counts, what is seen, positions that stay, pictures, refusals."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from jaxvision.models.vit import ViT
from tests.models.test_contract import count
from tests.objectives.masks import as_pixels, hidden_patches

KEY = jax.random.key(0)
ENCODER_SIZES = (24, 1, 2, 4, 16)  # width, depth, heads, side of a patch and of an image
ENCODER = ViT(*ENCODER_SIZES, num_classes=0)
SIZES = {"depth": 1, "width": 16, "heads": 2}


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape).astype(np.float32)


@functools.cache
def trained(steps: int = 3, **options):
    """(objective, batch, state after a few steps of AdamW)."""
    objective, batch = jv.objectives.mae(ENCODER, **SIZES, **options), {"image": images(8, 16, 16, 3)}
    optimizer = jv.train.adamw(1e-2, weight_decay=0.5)
    state = jv.train.place(jv.train.init(objective, optimizer, batch, key=KEY), devices=jax.devices()[:1])
    step = jv.train.compile_step(jv.train.make_step(objective, optimizer), devices=jax.devices()[:1])
    for _ in range(steps):
        state, _ = step(state, batch, KEY)
    return objective, batch, state


def test_loss_and_gradients_are_pytorchs():
    pytest.importorskip("timm", reason="timm is not installed: parity with it is NOT checked here")
    import timm
    import torch

    from tests.oracles import mae

    objective, image = jv.objectives.mae(ENCODER, **SIZES), images(3, 16, 24, 3)
    shapes, carry = jax.eval_shape(objective.init, KEY, {"image": image})
    generator = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: (leaf.ndim == 1) + 0.2 * generator.standard_normal(leaf.shape), shapes)
    with jax.enable_x64(True):
        batch, key = {"image": image.astype(np.float64)}, jax.random.key(5)
        (loss, _), grads = jax.jit(jax.value_and_grad(objective.loss, has_aux=True))(params, carry, batch, key=key, step=0)
        hidden = hidden_patches(jv.objectives.mae_reconstruction(ENCODER, params, batch["image"], key=key, heads=2), 4)
        keep = np.stack([np.flatnonzero(~row) for row in hidden])
        grads = jax.tree.map(np.asarray, grads)
        wide = jv.layers.resize_position(params["encoder"]["stem"]["position"][1:], (4, 4), (4, 6))
    network = timm.create_model(
        "vit_tiny_patch16_224", num_classes=0, img_size=(16, 24), patch_size=4, embed_dim=24, depth=1, num_heads=2
    ).double()
    position = params["encoder"]["stem"]["position"]
    tensors = jv.weights.to_torch(ENCODER, {"params": params["encoder"]}, layout="timm")
    tensors["pos_embed"] = np.concatenate([position[:1], wide])[None]
    network.load_state_dict({name: torch.tensor(np.asarray(tensor)) for name, tensor in tensors.items()})
    decoder = mae.Decoder(params["decoder"], 2)
    theirs = mae.masked_autoencoder(network, decoder, batch["image"], keep, 4)
    theirs.backward()
    assert abs(float(loss) - theirs.item()) <= 1e-6 * theirs.item()  # the positions of the decoder are float32
    wanted = {name: tensor.grad.numpy() for name, tensor in network.named_parameters() if name != "pos_embed"}
    found = jv.weights.to_torch(ENCODER, {"params": grads["encoder"]}, layout="timm")
    for name, gradient in decoder.gradients().items():
        wanted[f"decoder/{name}"] = gradient
        found[f"decoder/{name}"] = functools.reduce(lambda tree, part: tree[part], name.split("/"), grads["decoder"])
    largest = max(np.abs(gradient).max() for gradient in wanted.values())
    for name, gradient in wanted.items():
        np.testing.assert_allclose(found[name], gradient, rtol=0, atol=1e-5 * largest, err_msg=name)
    assert not np.any(grads["encoder"]["stem"]["position"])


def test_targets_may_be_pixels_and_half_of_them_hidden():
    options = {"mask_ratio": 0.5, "normalize_target": False}
    objective, image = jv.objectives.mae(ENCODER, **SIZES, **options), images(2, 16, 16, 3)
    shapes, carry = jax.eval_shape(objective.init, KEY, {"image": image})
    generator = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: 0.2 * generator.standard_normal(leaf.shape, np.float32), shapes)
    loss, _ = jax.jit(objective.loss)(params, carry, {"image": image}, key=KEY, step=0)
    draw = functools.partial(jv.objectives.mae_reconstruction, ENCODER, heads=2, **options)
    made = jax.jit(draw)(params, image, key=KEY).reconstruction
    np.testing.assert_allclose(loss, 2 * np.mean((made - image) ** 2), rtol=1e-5)  # visible pixels have no error


@pytest.mark.slow
def test_the_papers_parameters():
    encoder = jv.create_model("vit_base_patch16_224", num_classes=0)
    init = jv.objectives.mae(encoder).init
    params, _ = jax.eval_shape(lambda key, image: init(key, {"image": image}), KEY, jnp.zeros((1, 224, 224, 3)))
    assert count(params) + 197 * 512 == 111_907_840  # the decoder's fixed positions are computed, not stored


def test_a_quarter_of_the_papers_patches_is_seen():
    hidden = hidden_patches(jv.objectives.mae_reconstruction(ENCODER, trained()[2].params, images(4, 56, 56, 3), key=KEY, heads=2), 4)
    assert hidden.shape == (4, 196) and np.all(hidden.sum(1) == 147)
    assert len({tuple(row) for row in hidden}) == 4  # each image has its own


def test_patches_are_cut_in_the_papers_order_and_put_back():
    image = images(2, 4, 6, 3)
    patches = jv.objectives.patchify(image, 2)
    assert patches.shape == (2, 6, 12)
    for place, (row, column) in enumerate(np.ndindex(2, 3)):
        wanted = [image[1, 2 * row + i, 2 * column + j, c] for i in range(2) for j in range(2) for c in range(3)]
        np.testing.assert_array_equal(patches[1, place], wanted)
    np.testing.assert_array_equal(jv.objectives.unpatchify(patches, 2, (2, 3)), image)
    with pytest.raises(ValueError, match="image"):
        jv.objectives.patchify(image, 4)
    with pytest.raises(ValueError, match="patches"):
        jv.objectives.unpatchify(patches, 2, (2, 2))


def test_the_encoder_begins_as_the_paper_has_it_and_its_positions_stay():
    objective, batch, state = trained()
    params, _ = jax.jit(objective.init)(KEY, batch)
    start, now = params["encoder"]["stem"], state.params["encoder"]["stem"]
    np.testing.assert_array_equal(start["position"][1:], jv.layers.blocked_grid_position(4, 4, 24))
    assert not np.any(start["position"][0])
    np.testing.assert_array_equal(now["position"], start["position"])  # through weight decay, too
    assert not np.array_equal(now["class_token"], start["class_token"])
    bound = math.sqrt(6 / (48 + 24))
    assert 0.9 * bound < np.abs(start["patch"]["kernel"]).max() <= bound
    with pytest.raises(ValueError, match="fixed_position"):
        jv.objectives.mae(Bare(), **SIZES).init(KEY, batch)


@pytest.mark.slow
def test_the_encoder_may_be_given_and_its_positions_may_move():
    objective, batch, state = trained()
    start, now = jax.jit(objective.init)(KEY, batch)[0]["encoder"]["stem"], state.params["encoder"]["stem"]
    again, _ = jax.jit(objective.init)(KEY, batch, {"encoder": state.params["encoder"]})
    np.testing.assert_array_equal(again["encoder"]["stem"]["class_token"], now["class_token"])
    free, _ = jax.jit(jv.objectives.mae(ENCODER, **SIZES, fixed_position=False).init)(KEY, batch)
    assert not np.array_equal(free["encoder"]["stem"]["position"], start["position"])


class Bare(ViT):
    """A transformer without a table of positions."""

    width: int = 24
    depth: int = 1
    heads: int = 2
    patch_size: int = 4
    image_size: int = 16
    num_classes: int = 0

    def init(self, *inputs, **options):
        variables = super().init(*inputs, **options)
        stem = {name: leaf for name, leaf in variables["params"]["stem"].items() if name != "position"}
        return {"params": variables["params"] | {"stem": stem}}


class Unmasked(ViT):
    """A transformer with ``patch_size`` that sees every patch."""

    def features(self, image, *, train=False):
        return super().features(image, train=train)


def test_hidden_pixels_reach_the_loss_as_targets_alone_and_cost_no_work():
    params = trained()[2].params["encoder"]
    look = jax.jit(functools.partial(ENCODER.apply, method="features"))
    image, keep = images(2, 16, 16, 3), jnp.array([[0, 5, 6, 15], [1, 2, 3, 9]])
    hidden = np.ones((2, 16))
    np.put_along_axis(hidden, np.asarray(keep), 0, 1)
    other = jv.objectives.patchify(image, 4) + hidden[..., None]
    other = jv.objectives.unpatchify(other, 4, (4, 4))
    for one, two in zip(*(jax.tree.leaves(look({"params": params}, pixels, keep=keep)) for pixels in (image, other)), strict=True):
        np.testing.assert_array_equal(one, two)

    def work(**options) -> float:
        return look.lower({"params": params}, image, **options).compile().cost_analysis()["flops"]

    assert work(keep=keep) < 0.45 * work()


def test_pictures_honest_and_oracle():
    _, _, state = trained()
    image = images(2, 16, 24, 3)
    draw = functools.partial(jv.objectives.mae_reconstruction, ENCODER, state.params, key=KEY, heads=2)
    honest, oracle = draw(image), draw(image, honest=False)
    mask = hidden_patches(honest, 4)
    hidden = as_pixels(mask, 4, (4, 6))
    np.testing.assert_array_equal(honest.original, image)
    for pictures in (honest, oracle):
        np.testing.assert_array_equal(np.where(hidden, 0, pictures.reconstruction), np.where(hidden, 0, image))
        np.testing.assert_array_equal(np.where(hidden, 0, pictures.masked), np.where(hidden, 0, image))
    grey = [image[example][~hidden[example]].mean() for example in range(2)]
    for example in range(2):
        np.testing.assert_allclose(np.asarray(honest.masked)[example][hidden[example]], grey[example], rtol=1e-5)
    # Other pixels where it is dark: honest pictures do not move, those of the oracle do.
    changed = np.where(hidden, 3 * image + 1, image)
    np.testing.assert_array_equal(draw(changed).reconstruction, honest.reconstruction)
    assert not np.allclose(draw(changed, honest=False).reconstruction, oracle.reconstruction)
    means = [jv.objectives.patchify(pictures.reconstruction, 4).mean(-1) for pictures in (oracle, draw(changed, honest=False))]
    wide = np.where(mask, 3 * np.asarray(means[0]) + 1, means[0])
    np.testing.assert_allclose(means[1], wide, rtol=1e-3, atol=1e-3)
    plain, same = (draw(image, normalize_target=False, honest=choice) for choice in (True, False))
    np.testing.assert_array_equal(plain.reconstruction, same.reconstruction)


def test_honest_pictures_take_mean_and_variance_from_visible_neighbours():
    """The pictures of hidden patches' own statistics give the prediction; honest ones are it with the statistics of visible patches."""
    image = images(1, 16, 24, 3)
    draw = functools.partial(jv.objectives.mae_reconstruction, ENCODER, trained()[2].params, image, key=KEY, heads=2)
    honest, own = draw(), draw(honest=False)
    hidden = hidden_patches(honest, 4)[0]
    patches, found, with_own = (np.asarray(jv.objectives.patchify(array, 4), np.float64)[0] for array in (image, honest[1], own[1]))
    visible = np.flatnonzero(~hidden)
    for place in np.flatnonzero(hidden):
        prediction = (with_own[place] - patches[place].mean()) / np.sqrt(patches[place].var(ddof=1) + 1e-6)
        weights = {seen: np.exp(-((place // 6 - seen // 6) ** 2 + (place % 6 - seen % 6) ** 2) / 2) for seen in visible}
        mean, variance = (
            sum(weight * read(patches[seen]) for seen, weight in weights.items()) / sum(weights.values())
            for read in (np.mean, lambda pixels: np.var(pixels, ddof=1))
        )
        np.testing.assert_allclose(found[place], prediction * np.sqrt(variance + 1e-6) + mean, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_it_shares_its_encoder():
    objective = jv.combine(
        share=("encoder",), rebuild=(0.5, jv.objectives.mae(ENCODER, **SIZES)), code=(1.0, jv.objectives.autoencoder(ENCODER, width=4))
    )
    batch = {"image": images(4, 16, 16, 3)}
    params, carry = jax.jit(objective.init)(KEY, batch)
    assert set(params) == {"encoder", "rebuild", "code"}
    value, aux = jax.jit(objective.loss)(params, carry, batch, key=KEY, step=0)
    np.testing.assert_allclose(value, 0.5 * aux.metrics["rebuild/loss"] + aux.metrics["code/loss"], rtol=1e-6)


def test_refusals():
    batch = {"image": images(2, 16, 16, 3)}
    convolutional = jv.create_model("convnextv2_atto", num_classes=0, patch_size=1)
    with pytest.raises(ValueError, match="encoder"):
        jv.objectives.mae(convolutional).init(KEY, batch)
    windows = jv.create_model("swin_tiny_patch4_window7_224", num_classes=0)
    for fixed in (True, False):
        with pytest.raises(ValueError, match="encoder"):
            jax.eval_shape(jv.objectives.mae(windows, fixed_position=fixed).init, KEY, batch)
    with pytest.raises(ValueError, match="encoder"):
        jv.objectives.mae(Unmasked(*ENCODER_SIZES, num_classes=0)).init(KEY, batch)
    with pytest.raises(ValueError, match="batch"):
        jv.objectives.mae(ENCODER).init(KEY, {"views": batch["image"]})
    with pytest.raises(ValueError, match="given"):
        jv.objectives.mae(ENCODER).init(KEY, batch, {"head": {}})
    for ratio in (0.99, 0.0, 1.0):
        objective = jv.objectives.mae(ENCODER, **SIZES, mask_ratio=ratio)
        params, carry = jax.eval_shape(objective.init, KEY, batch)
        with pytest.raises(ValueError, match="mask_ratio"):
            jax.eval_shape(functools.partial(objective.loss, key=KEY, step=0), params, carry, batch)
    with pytest.raises(ValueError, match="heads"):
        jax.eval_shape(jv.objectives.mae(ENCODER, depth=1, width=16, heads=3).init, KEY, batch)
