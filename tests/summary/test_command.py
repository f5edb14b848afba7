"""The command ``jaxvision summary``."""

import argparse
import csv
import io
import json

import pytest

from jaxvision import cli
from jaxvision.models.catalog import ALIASES
from jaxvision.summary import command


def output_of(capsys, *arguments: str) -> str:
    assert cli.main(["summary", *arguments]) == 0
    return capsys.readouterr().out


def test_the_table_is_aligned_and_ends_with_totals(capsys):
    lines = output_of(capsys, "alexnet").splitlines()
    assert lines[0] == "alexnet, one image of 224 x 224 x 3, counted by 'weights'"
    assert lines[2].split() == ["layer", "kind", "output", "kernel", "stride", "pad", "params", "MACs", "memory", "field", "step"]
    first = next(line for line in lines if line.startswith("stem/conv"))
    assert first.split() == ["stem/conv", "Conv", "55x55x64", "11x11", "4!", "2", "23,296", "70,276,800", "774.40", "kB", "11", "4"]
    total = next(line for line in lines if line.startswith("total"))
    assert total.split()[1:3] == ["61,100,840", "714,188,480"]
    end = lines[2].index("params") + len("params")
    assert all(line[end - 1] in " 0123456789" and line[end : end + 2] == "  " for line in lines[4:-6] if not line.startswith("-"))


def test_default_image_sizes_and_options(capsys):
    assert " 32 x 32 x 1," in output_of(capsys, "lenet5")
    assert " 384 x 384 x 3," in output_of(capsys, "vit_tiny_patch16_384", "--depth", "1")
    text = output_of(capsys, "vit_tiny_patch16_224", "--image-size", "32", "--channels", "1", "--num-classes", "7", "--depth", "1")
    assert " 32 x 32 x 1," in text
    assert next(line for line in text.splitlines() if line.startswith("head")).split()[:3] == ["head", "Dense", "7"]
    assert " 4x512 " in output_of(capsys, "mixer_s32_224", "--image-size", "64", "--depth", "1")  # the model takes another size
    assert "224 x 320" in output_of(capsys, "resnet18", "--image-size", "224x320", "--option", "stem=cifar", "--depth", "1")


@pytest.mark.slow
def test_xceptions_default_image_size_under_both_names(capsys):
    for name in ("xception", "legacy_xception"):
        head = output_of(capsys, name, "--depth", "1").partition("\n")[0]
        assert head.startswith(f"{name},") and " 299 x 299 x 3," in head


def test_json_and_csv(capsys):
    found = json.loads(output_of(capsys, "lenet5", "--json"))
    assert (found["params"], found["macs"], found["rows"][1]["kernel"], found["rows"][2]["field"]) == (61_706, 416_520, [5, 5], [6, 6])
    assert [entry["name"] for entry in json.loads(output_of(capsys, "lenet5", "cifarnet", "--json"))] == ["lenet5", "cifarnet"]
    rows = list(csv.DictReader(io.StringIO(output_of(capsys, "lenet5", "cifarnet", "--csv"))))
    assert {row["model"] for row in rows} == {"lenet5", "cifarnet"}
    assert sum(int(row["params"]) for row in rows if row["model"] == "lenet5") == 61_706
    assert (rows[1]["path"], rows[1]["output"], rows[1]["kernel"], rows[1]["divides"]) == ("stem", "28x28x6", "5x5", "True")


@pytest.mark.slow
def test_models_side_by_side(capsys):
    lines = output_of(capsys, "resnet18", "convnextv2_huge", "vit_small_patch16_224", "--compare", "--convention", "flops").splitlines()
    assert lines[0].split() == ["resnet18", "convnextv2_huge", "vit_small_patch16_224"]
    facts = {line[: line.index("  ")]: line.split()[-3:] for line in lines[2:] if "  " in line}
    assert facts["parameters"] == ["11,689,512", "660,289,640", "22,050,664"]
    assert facts["FLOPs in attention"] == ["0.0%", "0.0%", "7.8%"]


@pytest.mark.parametrize("name", sorted(ALIASES))
def test_an_alias_is_reported_at_the_same_image_size(name, monkeypatch):
    images = []
    monkeypatch.setattr(command, "report", lambda model, shape, **options: images.append((shape, options["name"])))
    for called in (name, ALIASES[name]):
        found = {"names": [called], "image_size": None, "num_classes": None, "channels": None, "depth": None, "convention": "weights"}
        command.reports_of(argparse.Namespace(**found), {})
    assert images[0] == (images[1][0], name)


@pytest.mark.parametrize(
    "arguments, named",
    [
        (["resnet5"], "resnet5"),
        (["alexnet", "--image-size", "big"], "--image-size"),
        (["alexnet", "--image-size", "9"], "AlexNet"),
        (["alexnet", "--depth", "0"], "depth"),
        (["alexnet", "--channels", "0"], "--channels"),
        (["alexnet", "--num-classes", "-1"], "num_classes"),
        (["alexnet", "--option", "stem"], "--option"),
        (["alexnet", "--option", "stem=cifar"], "stem"),
        (["lenet5", "--image-size", "28"], "LeNet-5"),
        (["lenet5", "cifarnet", "--compare", "--json"], "--compare"),
        (["lenet5", "cifarnet", "--compare", "--csv"], "--compare"),
        (["lenet5", "cifarnet", "--compare", "--depth", "1"], "--depth"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_argument(capsys, arguments, named):
    assert cli.main(["summary", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("jaxvision summary: ") and named in error
