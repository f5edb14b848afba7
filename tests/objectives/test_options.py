"""The options of every objective: sizes are those asked for, and what cannot be one is refused where the objective is made."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

import jaxvision as jv
from jaxvision.models.convnext import ConvNeXt
from jaxvision.models.vit import ViT
from tests.objectives.test_teachers import Tiny

OF = jv.objectives
ENCODER = Tiny()
CONVOLUTIONAL = ConvNeXt((1, 1), (4, 6), True, True, num_classes=0, patch_size=2)
TRANSFORMER = ViT(24, 1, 2, patch_size=4, image_size=16, num_classes=0)
BATCH = {"image": jnp.zeros((2, 16, 16, 3)), "views": jnp.zeros((2, 2, 16, 16, 3)), "label": jnp.zeros(2, int)}
OF_ENCODERS = {
    "simclr": OF.simclr,
    "supervised_contrastive": OF.supervised_contrastive,
    "vicreg": OF.vicreg,
    "byol": OF.byol,
    "simsiam": OF.simsiam,
    "dino": OF.dino,
    "mae": OF.mae,
    "fcmae": OF.fcmae,
    "jigsaw": OF.jigsaw,
    "autoencoder": OF.autoencoder,
}
OF_MODELS = {
    "supervised": OF.supervised,
    "translation": OF.translation,
    "pseudo_label": OF.pseudo_label,
    "distill": lambda model: OF.distill(model, nn.Dense(2), {"params": {"kernel": np.zeros((2, 2))}}),
}
SIZES = {  # an objective, and the shapes of parameters that its options give
    "byol": (OF.byol(ENCODER, hidden=5, projection=4), {"projector/dense1/kernel": (12, 5), "predictor/dense2/kernel": (5, 4)}),
    "simsiam": (
        OF.simsiam(ENCODER, hidden=5, projection=4),
        {"projector/dense1/kernel": (12, 4), "projector/dense3/kernel": (4, 4), "predictor/dense1/kernel": (4, 5)},
    ),
    "dino": (OF.dino(ENCODER, prototypes=7, hidden=5, bottleneck=4), {"head/dense2/kernel": (5, 5), "head/prototypes": (7, 4)}),
    "mae": (
        OF.mae(TRANSFORMER, depth=2, width=16, heads=2),
        {"decoder/mask_token": (1, 16), "decoder/block2/norm1/scale": (16,), "decoder/predict/kernel": (16, 48)},
    ),
    "fcmae": (OF.fcmae(CONVOLUTIONAL, depth=2, width=5), {"decoder/mask_token": (1, 5), "decoder/block2/norm/scale": (5,)}),
    "jigsaw": (
        OF.jigsaw(ENCODER, permutations=7, grid=2, tile_width=5, hidden=6),
        {"head/tile/kernel": (12, 5), "head/whole/kernel": (20, 6), "head/permutation/kernel": (6, 7)},
    ),
    "autoencoder": (OF.autoencoder(ENCODER, latent=3, width=5), {"decoder/narrow/kernel": (12, 3), "decoder/image/kernel": (3, 3, 5, 3)}),
}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_those_asked_for(name):
    objective, shapes = SIZES[name]
    params, _ = jax.eval_shape(objective.init, jax.random.key(0), BATCH)
    found = {"/".join(step.key for step in path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    assert {leaf: found[leaf] for leaf in shapes} == shapes
    if name in ("mae", "fcmae"):
        assert len([block for block in params["decoder"] if block.startswith("block")]) == 2


@pytest.mark.parametrize("name", OF_ENCODERS)
def test_an_encoder_is_a_module_with_features(name):
    for wrong in ("resnet18", None, Tiny):
        with pytest.raises(ValueError, match="encoder"):
            OF_ENCODERS[name](wrong)
    with pytest.raises(ValueError, match="encoder"):
        OF_ENCODERS[name](nn.Dense(2))


@pytest.mark.parametrize("name", OF_MODELS)
def test_a_model_is_a_module(name):
    for wrong in ("resnet18", None):
        with pytest.raises(ValueError, match="model"):
            OF_MODELS[name](wrong)


def test_a_teacher_is_a_module():
    with pytest.raises(ValueError, match="teacher"):
        OF.distill(nn.Dense(2), "resnet18", {"params": {}})


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (OF.simclr, "hidden projection"),
        (OF.supervised_contrastive, "hidden projection"),
        (OF.vicreg, "width"),
        (OF.byol, "hidden projection"),
        (OF.simsiam, "hidden projection"),
        (OF.dino, "prototypes hidden bottleneck"),
        (OF.mae, "depth width heads"),
        (OF.fcmae, "width depth"),
        (OF.jigsaw, "permutations tile_width hidden"),
        (OF.autoencoder, "latent width"),
    ],
)
def test_sizes_below_one_are_refused(make, names):
    for name in names.split():
        for size in (0, -1, 2.5):
            with pytest.raises(ValueError, match=name):
                make(ENCODER, **{name: size})
        make(ENCODER, **{name: np.int64(3)})


DISTILL = partial(OF.distill, teacher=nn.Dense(2), teacher_variables={"params": {"kernel": np.zeros((2, 2))}})


@pytest.mark.parametrize(
    ("make", "name", "wrong"),
    [
        (OF.simclr, "temperature", (0, -0.5, np.float32(-0.5))),
        (OF.supervised_contrastive, "temperature", (0, -0.1)),
        (OF.dino, "student_temperature", (0, -0.1)),
        (OF.dino, "teacher_temperature", (0, -0.04, np.float32(-0.5), float("nan"))),
        (DISTILL, "temperature", (0, -4.0)),
        (OF.pseudo_label, "threshold", (95, -0.1, np.float32(95), float("nan"))),
        (OF.byol, "momentum", (2.0, -0.1, np.float32(2))),
        (OF.dino, "momentum", (2.0, -0.1)),
        (OF.dino, "center_momentum", (5.0, -0.1)),
        (OF.dino, "freeze_steps", (-1, np.int64(-1))),
        (DISTILL, "weight", (1.5, -0.1)),
    ],
)
def test_numbers_that_cannot_be_are_refused(make, name, wrong):
    for number in wrong:
        with pytest.raises(ValueError, match=name):
            make(ENCODER, **{name: number})
    make(ENCODER, **{name: np.float32(1)})


def test_schedules_are_no_numbers_to_check():
    OF.byol(ENCODER, momentum=lambda step: 2.0)
    OF.dino(ENCODER, momentum=lambda step: 2.0, teacher_temperature=lambda step: -1.0)


def test_a_puzzle_has_as_many_permutations_as_its_tiles():
    with pytest.raises(ValueError, match="permutations"):
        OF.jigsaw(ENCODER, grid=2)
    for grid in (0, 1, 4):
        with pytest.raises(ValueError, match="grid"):
            OF.jigsaw(ENCODER, grid=grid, permutations=1)
    OF.jigsaw(ENCODER, grid=2, permutations=24)


def test_the_papers_schedules_are_taken():
    sharp = optax.linear_schedule(0.04, 0.07, 300)
    OF.dino(ENCODER, momentum=jv.train.cosine(0.996, 1.0, 1000), teacher_temperature=sharp, freeze_steps=10)
