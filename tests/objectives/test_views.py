"""What the methods that compare views refuse, share and keep; distillation and pseudo-labels beside their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import jaxvision as jv
from jaxvision.layers import BatchNorm, Dense
from jaxvision.typing import Features
from tests.marks import slow
from tests.objectives.test_teachers import CROPS, KEY, VIEWS, Tiny

SMALL = {
    "simclr": lambda encoder: jv.objectives.simclr(encoder, projection=6),
    "byol": lambda encoder: jv.objectives.byol(encoder, hidden=16, projection=6),
    "simsiam": lambda encoder: jv.objectives.simsiam(encoder, hidden=4, projection=6),
    "dino": lambda encoder: jv.objectives.dino(encoder, prototypes=10, hidden=16, bottleneck=8),
}
BATCH = {"views": VIEWS, "crops": CROPS, "image": VIEWS[:, 0], "label": np.arange(8) % 3}


class Classifier(nn.Module):
    """The mean of the pixels and a dense layer."""

    num_classes: int = 3

    @nn.compact
    def __call__(self, image, *, train=False):
        return Dense(self.num_classes, name="head")(image.reshape(len(image), -1))


class Normed(nn.Module):
    """A norm over the batch, dropout and a dense layer: what differs between training and evaluation."""

    @nn.compact
    def __call__(self, image, *, train=False):
        rows = BatchNorm(name="norm")(image.reshape(len(image), -1), train=train)
        return Dense(3, name="head")(nn.Dropout(0.5, deterministic=not train)(rows))


class Flat(nn.Module):
    """An encoder that forgot to pool."""

    @nn.compact
    def features(self, image, *, train=False):
        return Features(Dense(4, name="stem")(image), None, {})


@pytest.mark.parametrize("name", SMALL)
def test_what_does_not_fit_is_named(name):
    objective = SMALL[name](Tiny())
    with pytest.raises(ValueError, match="batch"):
        objective.init(KEY, {"image": VIEWS[:, 0]})
    with pytest.raises(ValueError, match="views"):
        objective.init(KEY, {"views": VIEWS[:, :1]})
    with pytest.raises(ValueError, match="encoder"):
        SMALL[name](Flat()).init(KEY, {"views": VIEWS})
    with pytest.raises(ValueError, match="given"):
        objective.init(KEY, BATCH, {"encodr": {}})


def test_crops_must_belong_to_the_views():
    with pytest.raises(ValueError, match="crops"):
        SMALL["dino"](Tiny()).init(KEY, BATCH | {"crops": CROPS[:4]})


@pytest.mark.parametrize("name", SMALL)
def test_a_warm_start_reaches_student_and_teacher(name):
    objective = SMALL[name](Tiny())
    params, _ = jax.jit(objective.init)(KEY, BATCH)
    warm, carry = jax.jit(objective.init)(jax.random.key(5), BATCH, {"encoder": params["encoder"]})
    trees = [warm, *([carry.memory["teacher"]] if carry.memory else [])]
    for tree in trees:
        np.testing.assert_array_equal(tree["encoder"]["stem"]["kernel"], params["encoder"]["stem"]["kernel"])


def test_methods_share_an_encoder_and_keep_their_own_memory():
    names = ("simclr", "byol", "dino")
    terms = {name: (1.0, SMALL[name](Tiny())) for name in names}
    objective = jv.combine(share=("encoder",), **terms)
    optimizer = jv.train.sgd(0.1)
    state = jv.train.init(objective, optimizer, BATCH, key=KEY)
    after, metrics = jax.jit(jv.train.make_step(objective, optimizer))(state, BATCH, KEY)
    assert set(after.params) == {"encoder", *names} and set(after.carry.memory) >= {"byol", "dino"}
    assert jax.tree.structure(after) == jax.tree.structure(state)
    teachers = [after.carry.memory[name]["teacher"]["encoder"]["stem"]["kernel"] for name in ("byol", "dino")]
    np.testing.assert_array_equal(*teachers)  # averages of one student
    assert {"simclr/top1", "byol/rank", "dino/teacher_entropy", "loss"} <= set(metrics)


def test_simclr_reports_the_loss_of_equal_vectors():
    objective = SMALL["simclr"](Tiny())
    params, carry = jax.jit(objective.init)(KEY, BATCH)
    _, aux = jax.jit(objective.loss)(params, carry, BATCH, key=KEY, step=0)
    assert float(aux.metrics["chance_loss"]) == pytest.approx(np.log(15))


def share_of_matches(z1: np.ndarray, z2: np.ndarray) -> float:
    """How many of all views are most similar to the other view of their image."""
    both = np.concatenate([z1, z2])
    both /= np.linalg.norm(both, axis=1, keepdims=True)
    similarity = both @ both.T - 10 * np.eye(len(both))
    return np.mean(np.argmax(similarity, axis=1) == (np.arange(len(both)) + len(z1)) % len(both))


def projected(params: dict, rows: np.ndarray) -> np.ndarray:
    """Dense layers with ReLU between them, the first two with a norm over the batch behind them."""
    count = sum(name.startswith("dense") for name in params)
    for index in range(1, count + 1):
        rows = rows @ params[f"dense{index}"]["kernel"] + params[f"dense{index}"].get("bias", 0)
        if index <= 2:
            norm = params[f"norm{index}"]
            rows = (rows - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-5) * norm["scale"] + norm["bias"]
        rows = np.maximum(rows, 0) if index < count else rows
    return rows


COMPARED = {  # an objective with options of its own, and its loss of both views
    "simclr": (
        jv.objectives.simclr(Tiny(), temperature=0.3, hidden=5, projection=6),
        lambda z1, z2: jv.losses.nt_xent(z1, z2, temperature=0.3),
    ),
    "supervised_contrastive": (
        jv.objectives.supervised_contrastive(Tiny(), temperature=0.7, hidden=5, projection=6),
        lambda z1, z2: jv.losses.supervised_contrastive(jnp.stack([z1, z2], axis=1), BATCH["label"], temperature=0.7),
    ),
    "vicreg": (
        jv.objectives.vicreg(Tiny(), width=5, invariance=3.0, variance=7.0, covariance=40.0),
        lambda z1, z2: jv.losses.vicreg(z1, z2, invariance=3.0, variance=7.0, covariance=40.0),
    ),
}


@pytest.mark.parametrize("name", ["simclr", *(slow(name) for name in COMPARED if name != "simclr")])
def test_options_reach_the_projector_and_the_loss(name):
    objective, loss = COMPARED[name]
    params, carry = jax.jit(objective.init)(KEY, BATCH)
    draw = np.random.default_rng(2)  # the norms' parameters, too, are to be seen
    params = jax.tree.map(lambda leaf: leaf + 0.2 * draw.standard_normal(leaf.shape).astype(np.float32), params)
    value, aux = jax.jit(objective.loss)(params, carry, BATCH, key=KEY, step=0)
    variables = {"params": params["encoder"], "batch_stats": carry.stats["encoder"]}
    features, _ = Tiny().apply(variables, VIEWS.reshape(16, 6, 6, 3), train=True, method="features", mutable=["batch_stats"])
    pooled = np.asarray(features.pooled)
    assert params["projector"]["dense1"]["kernel"].shape == (12, 5)
    rows = projected(params["projector"], pooled).reshape(8, 2, -1)
    np.testing.assert_allclose(value, loss(rows[:, 0], rows[:, 1]), rtol=1e-4)
    np.testing.assert_allclose(aux.metrics["rank"], jv.losses.effective_rank(pooled[::2]), rtol=1e-4)
    if "top1" in aux.metrics:
        np.testing.assert_allclose(aux.metrics["top1"], share_of_matches(rows[:, 0], rows[:, 1]), rtol=1e-6)


@pytest.mark.parametrize("depth", [2, 3])
def test_simsiam_is_the_papers_pseudo_code(depth):
    from tests.oracles.simsiam import simsiam

    objective = jv.objectives.simsiam(Tiny(), hidden=4, projection=6, depth=depth)
    params, carry = jax.jit(objective.init)(KEY, BATCH)
    draw = np.random.default_rng(2)
    params = jax.tree.map(lambda leaf: leaf + 0.2 * draw.standard_normal(leaf.shape).astype(np.float32), params)
    (value, aux), grads = jax.jit(jax.value_and_grad(objective.loss, has_aux=True))(params, carry, BATCH, key=KEY, step=0)
    variables = {"params": params["encoder"], "batch_stats": carry.stats["encoder"]}
    features, _ = Tiny().apply(variables, VIEWS.reshape(16, 6, 6, 3), train=True, method="features", mutable=["batch_stats"])
    pooled, wide = np.asarray(features.pooled, np.float64), jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    np.testing.assert_allclose(value, simsiam(wide, pooled.reshape(8, 2, -1)), rtol=0, atol=2e-6)  # from -1 to 1
    assert all(np.any(leaf) for leaf in jax.tree.leaves(grads)) and set(aux.carry.stats) == {"encoder", "projector", "predictor"}


def test_labels_join_the_images_of_a_class():
    objective = jv.objectives.supervised_contrastive(Tiny(), projection=6)
    params, carry = jax.jit(objective.init)(KEY, BATCH)
    loss = jax.jit(objective.loss)
    one, _ = loss(params, carry, BATCH, key=KEY, step=0)
    other, _ = loss(params, carry, BATCH | {"label": np.arange(8)}, key=KEY, step=0)
    assert np.isfinite(one) and float(one) != float(other)
    with pytest.raises(ValueError, match="label"):
        objective.loss(params, carry, {"views": VIEWS}, key=KEY, step=0)


def test_distillation_is_the_weighted_sum_and_the_teacher_stays():
    teacher, model = Normed(), Classifier()
    variables = jax.jit(teacher.init)(jax.random.key(1), BATCH["image"])
    variables = variables | {"batch_stats": jax.tree.map(lambda leaf: leaf + 0.4, variables["batch_stats"])}
    objective = jv.objectives.distill(model, teacher, variables, temperature=2.0, weight=0.7)
    params, carry = jax.jit(objective.init)(KEY, BATCH)
    value, aux = objective.loss(params, carry, BATCH, key=KEY, step=0)
    own, taught = model.apply({"params": params["model"]}, BATCH["image"]), teacher.apply(variables, BATCH["image"], train=False)
    soft = jv.losses.knowledge_distillation(own, taught, temperature=2.0)
    np.testing.assert_allclose(value, 0.7 * soft + 0.3 * jv.losses.cross_entropy(own, BATCH["label"]), rtol=1e-6)
    assert {"top1", "agreement", "distillation", "loss"} == set(aux.metrics)
    jax.tree.map(np.testing.assert_array_equal, aux.carry.memory["teacher"], variables)
    soft_only = jv.objectives.distill(model, teacher, variables, weight=1.0)
    value, aux = soft_only.loss(params, carry, {"image": BATCH["image"]}, key=KEY, step=0)
    assert np.isfinite(value) and "top1" not in aux.metrics


def test_distillation_refuses_what_it_cannot_read():
    teacher = Classifier()
    variables = jax.jit(teacher.init)(KEY, BATCH["image"])
    with pytest.raises(ValueError, match="label"):
        jv.objectives.distill(teacher, teacher, variables).init(KEY, {"image": BATCH["image"]})
    with pytest.raises(ValueError, match="teacher_variables"):
        jv.objectives.distill(teacher, teacher, variables["params"])
    with pytest.raises(ValueError, match="teacher_variables"):
        jv.objectives.distill(teacher, teacher, {"params": {}})
    with pytest.raises(ValueError, match="weight"):
        jv.objectives.distill(teacher, teacher, variables, weight=1.5)


@pytest.mark.parametrize(("labelled", "unlabelled"), [(8, 12), (6, 4), slow(8, 8), slow(4, 6), slow(8, 2)])
def test_pseudo_labels_are_the_sum_of_both_streams(labelled, unlabelled):
    model, views = Classifier(), np.random.default_rng(1).random((unlabelled, 2, 6, 6, 3)).astype(np.float32)
    objective = jv.objectives.pseudo_label(model, threshold=0.5, weight=0.4)
    batch = {"image": BATCH["image"][:labelled], "label": BATCH["label"][:labelled], "unlabelled": {"views": views}}
    params, carry = jax.jit(objective.init)(KEY, batch)
    value, aux = objective.loss(params, carry, batch, key=KEY, step=0)
    own, weak, strong = (model.apply({"params": params["model"]}, rows) for rows in (batch["image"], views[:, 0], views[:, 1]))
    pseudo = jv.losses.pseudo_label(weak, strong, threshold=0.5)
    np.testing.assert_allclose(value, jv.losses.cross_entropy(own, batch["label"]) + 0.4 * pseudo, rtol=1e-5)
    confident = np.mean(np.max(jax.nn.softmax(weak), axis=1) >= 0.5)
    assert float(aux.metrics["confident"]) == pytest.approx(confident)


def test_pseudo_labels_name_what_is_missing():
    objective, views = jv.objectives.pseudo_label(Classifier()), VIEWS
    batch = {"image": BATCH["image"], "label": BATCH["label"], "unlabelled": {"views": views}}
    for broken, name in (
        ({"image": batch["image"], "label": batch["label"]}, "unlabelled"),
        (batch | {"unlabelled": {"image": views[:, 0]}}, "views"),
        (batch | {"unlabelled": {"views": views[:, :1]}}, "unlabelled views"),
        ({"image": batch["image"], "unlabelled": batch["unlabelled"]}, "label"),
    ):
        with pytest.raises(ValueError, match=name):
            objective.init(KEY, broken)


@pytest.mark.parametrize("name", [slow("byol"), "dino"])
def test_a_checkpoint_brings_the_memory_back(name, tmp_path):
    objective, optimizer = SMALL[name](Tiny()), jv.train.sgd(0.1)
    state = jv.train.init(objective, optimizer, BATCH, key=KEY)
    state, _ = jax.jit(jv.train.make_step(objective, optimizer))(state, BATCH, KEY)
    checkpoints = jv.train.Checkpoints(tmp_path)
    checkpoints.save(state, step=1)
    loaded = checkpoints.restore(1, jv.train.place(jv.train.init(objective, optimizer, BATCH, key=jax.random.key(9))))
    checkpoints.close()
    jax.tree.map(np.testing.assert_array_equal, loaded, state)
    assert set(jv.train.variables(loaded)["params"]) == {"stem", "norm"}
