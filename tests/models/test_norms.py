"""Epsilon and momentum of every normalisation against the reference's own of the same name: ten times an epsilon hardly moves logits."""

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from jaxvision.layers import BatchNorm, GlobalResponseNorm, GroupNorm, LayerNorm
from jaxvision.models.transformer import Transformer
from jaxvision.weights.rules import named, rules_of, shapes_of
from tests.marks import split
from tests.models.rows import KINDS
from tests.oracles.references import LIBRARIES, counterpart, torch, without_memory

NORMS = (BatchNorm, GlobalResponseNorm, GroupNorm, LayerNorm)
ROWS = (  # one of every family and of every form that has norms of its own, the lightest
    *("vgg11_bn", "googlenet", "inception_v3", "inception_v4", "xception", "mobilenetv1_100", "mobilenet_v2", "mobilenet_v3_small"),
    *(
        "mobilenet_v3_large",
        "densenet121",
        "regnet_y_400mf",
        "efficientnet_b0",
        "efficientnet_v2_s",
        "resnet18",
        "resnet50",
        "seresnet18",
        "resnetv2_18",
    ),
    *("convnext_tiny", "convnextv2_atto", "mixer_s16_224", "gmlp_ti16_224", "swin_tiny_patch4_window7_224", "vit_tiny_patch16_224"),
    *("deit_tiny_distilled_patch16_224", "vit_small_patch14_reg4_dinov2"),
)


def traced(trace) -> tuple[dict, dict]:
    """What ``trace`` gives, and {path: (epsilon, momentum)} of every norm that it calls."""
    found = {}

    def note(call, args, kwargs, context):
        if isinstance(context.module, NORMS) and context.method_name == "__call__":
            found[context.module.path] = (context.module.epsilon, getattr(context.module, "momentum", None))
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        return trace(), found


def compare(name: str) -> int:
    """Compares a row in every library that has it, running statistics with the first of them; gives the number of norms compared."""
    compared = 0
    for library in LIBRARIES:
        network = without_memory(name, library)
        model = counterpart(name, library)
        if network is None or library not in rules_of(model):
            continue
        variables, ours = traced(lambda: shapes_of(model))
        names = {entry.path[1:-1]: entry.name.rpartition(".")[0] for entry in named(variables, rules_of(model)[library])}
        if (name, library) == ("inception_v3", "timm"):  # it makes no classifiers for training unless asked
            ours = {path: values for path, values in ours.items() if not path[0].startswith("auxiliary")}
        modules = {path: network.get_submodule(names[path]) for path in ours}
        assert {path: values[0] for path, values in ours.items()} == {path: module.eps for path, module in modules.items()}, library
        if not compared:
            momenta = {path: getattr(module, "momentum", None) for path, module in modules.items()}
            assert {path: values[1] for path, values in ours.items()} == momenta, library
        compared += len(ours)
    return compared


@pytest.mark.parametrize("name", split(ROWS, KINDS))
def test_every_norm_is_the_references(name):
    assert compare(name) > 1


def test_the_transformers_norms_are_pytorchs():
    rows = jnp.zeros((1, 4), jnp.int32)
    model = Transformer(5, 5, width=4, heads=1, hidden=4, depths=(1, 1), last_norm=True)
    _, ours = traced(lambda: jax.eval_shape(model.init, jax.random.key(0), rows, rows))
    theirs = [module.eps for module in torch.nn.Transformer(4, 1, 1, 1, 4).modules() if isinstance(module, torch.nn.LayerNorm)]
    assert [epsilon for epsilon, _ in ours.values()] == theirs and len(theirs) == 7
