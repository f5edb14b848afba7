"""Dropout and stochastic depth of every family: which draws there are in training, and that each of them reaches the output."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.interpreters.partial_eval import dce_jaxpr

import jaxvision as jv
from jaxvision.layers import drop
from jaxvision.models.recurrent import Recurrent
from jaxvision.models.transformer import Transformer
from tests.marks import split
from tests.models.rows import KINDS
from tests.models.test_contract import SMALL

KEY = jax.random.key(0)
OTHERS = {  # forms with blocks that those of the contract lack: options, image
    "inception_v3": ({"auxiliary_heads": False}, (2, 75, 75, 3)),
    "mobilenet_v2": ({}, (2, 33, 40, 3)),
    "efficientnet_v2_s": ({}, (2, 33, 40, 3)),
}
DRAWS = {  # by drop_rate (one for each dropout) and by drop_path_rate (one for each branch but the first), None where it is refused
    "lenet5": (1, None),
    "alexnet": (2, None),
    "vgg11_bn": (2, None),
    "googlenet": (1, None),
    "inception_v3": (1, None),
    "inception_v4": (1, None),
    "xception": (1, 11),
    "regnet_y_400mf": (1, 15),
    "densenet121": (6 + 12 + 24 + 16, None),
    "mobilenetv1_100": (1, None),
    "mobilenet_v2": (1, 10),
    "mobilenet_v3_small": (1, 6),
    "efficientnet_b0": (1, 9),
    "efficientnet_v2_s": (1, 34),
    "resnet18": (1, 7),
    "resnet50": (1, 15),
    "plain20": (1, None),
    "seresnet18": (1, 7),
    "resnetv2_18": (1, 7),
    "convnext_tiny": (1, 17),
    "convnextv2_atto": (1, 11),
    "swin_tiny_patch4_window7_224": (1, 2 * 11),
    "mixer_s32_224": (1, 2 * 7),
    "gmlp_ti16_224": (1, 29),
    "vit_tiny_patch16_224": (1, 2 * 11),
    "deit_tiny_distilled_patch16_224": (2, 2 * 11),
    "vit_small_patch14_reg4_dinov2": (1, 2 * 11),
}


def _count(jaxpr) -> int:
    """How often numbers are drawn in a program and in those inside it."""
    found = sum(equation.primitive.name == "random_bits" for equation in jaxpr.eqns)
    inner = (getattr(part, "jaxpr", part) for equation in jaxpr.eqns for part in jax.tree.leaves(equation.params))
    return found + sum(_count(part) for part in inner if hasattr(part, "eqns"))


def draws(model, *inputs, monkeypatch) -> list[float]:
    """The rate of each draw in training, in their order; all of them reach the logits, or those of auxiliary heads."""
    rates, bernoulli = [], jax.random.bernoulli

    def noted(key, kept, shape):
        rates.append(1 - kept)
        return bernoulli(key, kept, shape)

    variables = jax.eval_shape(model.init, KEY, *inputs)

    def outputs(key, variables, *inputs):
        logits, sown = model.apply(variables, *inputs, train=True, mutable=["batch_stats", "auxiliary"], rngs={"dropout": key})
        return logits, sown.get("auxiliary")

    with monkeypatch.context() as patch:
        patch.setattr(drop.jax.random, "bernoulli", noted)
        program = jax.make_jaxpr(outputs)(KEY, variables, *inputs).jaxpr
    needed, inputs_needed = dce_jaxpr(program, [True] * len(program.outvars))
    assert _count(needed) == len(rates) and inputs_needed[0] == bool(rates)
    return rates


def small(name: str, **options):
    defaults, shape = (SMALL.get(name) or OTHERS[name])[:2]
    return jv.create_model(name, num_classes=3, **defaults | options), jax.ShapeDtypeStruct(shape, jnp.float32)


def test_every_form_of_the_contract_is_here():
    assert set(DRAWS) == {*SMALL, *OTHERS}


@pytest.mark.parametrize("name", split(DRAWS, KINDS))
def test_dropout_draws_at_its_rate(name, monkeypatch):
    options = {} if DRAWS[name][1] is None else {"drop_path_rate": 0.0}
    found = draws(*small(name, drop_rate=0.25, **options), monkeypatch=monkeypatch)
    np.testing.assert_allclose(found, [0.25] * DRAWS[name][0])
    assert draws(*small(name, drop_rate=0.0, **options), monkeypatch=monkeypatch) == []


@pytest.mark.parametrize("name", split(DRAWS, KINDS))
def test_stochastic_depth_draws_at_rates_that_rise(name, monkeypatch):
    if DRAWS[name][1] is None:
        with pytest.raises((TypeError, ValueError), match="^drop_path_rate:"):
            small(name, drop_path_rate=0.25)
        return
    found = draws(*small(name, drop_rate=0.0, drop_path_rate=0.25), monkeypatch=monkeypatch)
    assert len(found) == DRAWS[name][1] and found == sorted(found) and found[0] > 0 and 0.15 < found[-1] <= 0.25 + 1e-9


@pytest.mark.parametrize("name", ["mobilenetv1_100", "plain56"])
def test_nets_without_shortcuts_refuse_stochastic_depth_by_name(name):
    with pytest.raises(ValueError, match="^drop_path_rate:"):
        jv.create_model(name, drop_path_rate=0.1)
    jv.create_model(name, drop_path_rate=0.0)


@pytest.mark.slow
def test_googlenets_auxiliary_heads_drop_seven_tenths(monkeypatch):
    model = jv.create_model("googlenet", num_classes=3, drop_rate=0.0)
    found = draws(model, jax.ShapeDtypeStruct((2, 65, 70, 3), jnp.float32), monkeypatch=monkeypatch)
    np.testing.assert_allclose(found, [0.7, 0.7])


@pytest.mark.parametrize(
    ("made", "count"),
    [
        (functools.partial(Transformer, 11, 11, 8, 2, 8, (2, 2)), 2 + 2 * 2 + 2 * 3),  # embeddings, parts of encoder and decoder
        (functools.partial(Recurrent, 11, 11, 6), 3),  # embeddings and head
        (functools.partial(Recurrent, 11, 11, 6, context="fixed", cell="lstm"), 3),
    ],
)
def test_sequence_models_draw_after_embeddings_and_sublayers(made, count, monkeypatch):
    tokens = jax.ShapeDtypeStruct((2, 5), jnp.int32)
    np.testing.assert_allclose(draws(made(drop_rate=0.25), tokens, tokens, monkeypatch=monkeypatch), [0.25] * count)
    assert draws(made(drop_rate=0.0), tokens, tokens, monkeypatch=monkeypatch) == []
