"""Names and options: the catalog equals the families' tables, loads nothing, and a slip is answered in one line."""

import importlib
import subprocess
import sys

import jax.numpy as jnp
import pytest

import jaxvision as jv
from jaxvision.models import transformer
from jaxvision.models.catalog import ALIASES, FAMILIES


@pytest.mark.parametrize("family", FAMILIES)
def test_the_catalog_equals_the_familys_table(family):
    assert set(FAMILIES[family]) == set(importlib.import_module(f"jaxvision.models.{family}").MODELS)


def test_names_are_unique_and_aliases_lead_to_one():
    names = [name for names in FAMILIES.values() for name in names]
    assert len(set(names)) == len(names) and set(ALIASES.values()) <= set(names) and not set(ALIASES) & set(names)


def test_listing_follows_the_pattern_and_is_sorted():
    assert jv.list_models("resnet?0") == ["resnet20", "resnet50"]
    assert jv.list_models("vit_h*") == ["vit_huge_patch14_224"]
    assert jv.list_models("nothing*") == []
    assert jv.list_models() == sorted(jv.list_models())


def test_listing_loads_neither_jax_nor_flax():
    code = "import sys, jaxvision as jv; jv.list_models(); print([name for name in ('jax', 'flax', 'numpy') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_another_librarys_name_makes_the_same_network():
    assert jv.create_model("vit_b_16", num_classes=3) == jv.create_model("vit_base_patch16_224", num_classes=3)


@pytest.mark.parametrize(
    ("name", "options", "error", "argument"),
    [
        ("resnet51", {}, ValueError, "resnet51.*resnet50"),
        ("qqqqq", {}, ValueError, "qqqqq.*list_models"),
        ("resnet50", {"image_size": 64}, TypeError, "^image_size:"),
        ("lenet5", {"image_size": 64}, TypeError, "^image_size:"),
        ("lenet5", {"stem": "cifar"}, TypeError, "^stem:"),
        ("vgg16", {"drop_path_rate": 0.1}, TypeError, "^drop_path_rate:"),
        ("resnet18", {"in_channels": 0}, ValueError, "^in_channels:"),
        ("vit_b_16", {"in_channels": "3"}, ValueError, "^in_channels:"),
        ("resnet18", {"drop_rate": "0.1"}, ValueError, "^drop_rate:"),
        ("resnet18", {"drop_rate": None}, ValueError, "^drop_rate:"),
        ("resnet18", {"drop_rate": False}, ValueError, "^drop_rate:"),
        ("efficientnet_b0", {"drop_path_rate": None}, ValueError, "^drop_path_rate:"),
        ("resnet18", {"num_classes": True}, ValueError, "^num_classes:"),
        ("resnet50", {"in_channels": True}, ValueError, "^in_channels:"),
        ("vit_b_16", {"patch_size": True}, ValueError, "^patch_size:"),
        (["resnet18"], {}, TypeError, "^name:"),
        (None, {}, TypeError, "^name:"),
        ("plain20", {"zero_init_residual": True}, ValueError, "^zero_init_residual:"),
        ("resnet18", {"drop_ratte": 0.1}, TypeError, "^drop_ratte: .*drop_rate"),
        ("resnet18", {"num_classes": -1}, ValueError, "^num_classes:"),
        ("vit_b_16", {"num_classes": "10"}, ValueError, "^num_classes:"),
        ("resnet18", {"stem": "foo"}, ValueError, "^stem:"),
        ("resnet18", {"drop_rate": 1.0}, ValueError, "^drop_rate:"),
        ("vit_b_16", {"drop_path_rate": -0.1}, ValueError, "^drop_path_rate:"),
        ("resnet18", {"dtype": "bfloat"}, ValueError, "^dtype:"),
        ("lenet5", {"dtype": "int32"}, ValueError, "^dtype:"),
        ("vit_b_16", {"pool": "max"}, ValueError, "^pool:"),
        ("vit_b_16", {"patch_size": 15}, ValueError, "^patch_size:"),
        ("vit_b_16", {"patch_size": 0}, ValueError, "^patch_size:"),
        ("vit_b_16", {"image_size": (224, 224)}, ValueError, "^image_size:"),
    ],
)
def test_an_error_is_one_line_that_names_the_argument(name, options, error, argument):
    with pytest.raises(error, match=argument) as caught:
        jv.create_model(name, **options)
    assert "\n" not in str(caught.value)


def test_dtype_may_be_a_name_or_a_type():
    for dtype in ("bfloat16", jnp.bfloat16, jnp.dtype("bfloat16"), None):
        jv.create_model("resnet18", dtype=dtype)


def test_none_is_the_rows_own_value_where_a_family_says_so():
    for name, option, own in (("efficientnet_b4", "drop_rate", 0.4), ("inception_v3", "drop_rate", 0.5), ("resnet20", "num_classes", 10)):
        assert getattr(jv.create_model(name, **{option: None}), option) == own


def test_transformers_are_made_by_name():
    with pytest.raises(ValueError, match="^name:"):
        transformer.build("foo", source_vocabulary=5)


COMMON = {"drop_rate": 0.25, "drop_path_rate": 0.125, "image_size": 64}
LACKING = {  # families for which a common option means nothing
    "drop_rate": (),
    "drop_path_rate": ("lenet", "alexnet", "vgg", "inception", "densenet"),
    "image_size": tuple(set(FAMILIES) - {"vit", "mixer"}),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_the_common_options_that_mean_something(family):
    name = {"mobilenet": "mobilenet_v2"}.get(family, FAMILIES[family][0])  # v1 has no shortcuts
    model = jv.create_model(name, num_classes=3, in_channels=2, dtype="bfloat16")
    assert (model.num_classes, model.in_channels, model.dtype) == (3, 2, "bfloat16")
    for option, value in COMMON.items():
        if family in LACKING[option]:
            with pytest.raises(TypeError, match=f"^{option}:"):
                jv.create_model(name, **{option: value})
        else:
            assert getattr(jv.create_model(name, **{option: value}), option) == value
