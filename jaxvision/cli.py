"""The command ``jaxvision``: models, predict, convert, doctor. Its help and the list of models need neither jax nor a device."""

import argparse
import json
import sys
from pathlib import Path

import jaxvision as jv


def _models(arguments: argparse.Namespace) -> int:
    names = jv.list_models(arguments.pattern)
    if not names:
        print(f"no model is called {arguments.pattern!r}; `jaxvision models` lists all", file=sys.stderr)
        return 2
    print("\n".join(names))
    return 0


def _overrides(pairs: list[str]) -> dict:
    """``--option name=value`` pairs as a dict."""
    for pair in pairs:
        if "=" not in pair:
            raise ValueError(f"--option: found {pair!r}, expected name=value")
    return {name.replace("-", "_"): value for name, _, value in (pair.partition("=") for pair in pairs)}


def _split_run(path: Path) -> tuple[Path, int | None]:
    """(run folder, step): a checkpoint folder ``RUN/checkpoints/STEP`` is a run folder and a step."""
    if path.name.isdigit() and path.parent.name == "checkpoints":
        return path.parent.parent, int(path.name)
    if not path.exists():
        raise ValueError(f"{path}: no such folder; expected a run folder (with config.json) or RUN/checkpoints/STEP")
    return path, None


def _predict(arguments: argparse.Namespace) -> int:
    if arguments.top < 1:
        raise ValueError(f"--top: found {arguments.top}, expected at least 1")
    run_folder, step = _split_run(arguments.run)
    images = [jv.data.read_image(path) for path in arguments.images]  # a wrong path is told before jax is loaded
    experiment, state = jv.train.load(run_folder, step=step, **_overrides(arguments.option))
    shape = experiment.train[0]["image"].shape
    fit = getattr(experiment.test, "crop", None) or (lambda image: jv.data.fit_image(image, shape))
    fitted = [fit(image) for image in images]
    variables = jv.train.variables(state)
    probabilities = jv.evaluate.predict(experiment.model, variables, fitted, recipe=experiment.recipe)
    classes = list(experiment.train.classes)
    found = []
    for path, row in zip(arguments.images, probabilities, strict=True):
        top = row.argsort()[::-1][: arguments.top]
        found.append({"image": str(path), "classes": [{"class": classes[index], "probability": float(row[index])} for index in top]})
    print(json.dumps(found, indent=2) if arguments.json else _table(found))
    return 0


def _table(found: list[dict]) -> str:
    lines = []
    for row in found:
        lines.append(row["image"])
        width = max(len(entry["class"]) for entry in row["classes"])
        lines += [f"  {entry['class']:<{width}}  {entry['probability']:7.2%}" for entry in row["classes"]]
    return "\n".join(lines)


def _convert(arguments: argparse.Namespace) -> int:
    if arguments.out.exists():
        raise ValueError(f"{arguments.out}: it exists already; choose another name or remove it")
    if (arguments.to or arguments.layout) and not arguments.model:
        raise ValueError("--model: missing; names of a layout can be changed only for a model, for example --model resnet50")
    tensors = jv.weights.read(arguments.source, key=arguments.key)
    if arguments.model:
        options = {name: int(value) if value.isdecimal() else value for name, value in _overrides(arguments.option).items()}
        model = jv.create_model(arguments.model, **options)
        variables = jv.weights.from_torch(model, tensors, layout=arguments.layout, prefix=arguments.prefix)
        tensors = jv.weights.to_torch(model, variables, layout=arguments.to)
    else:
        tensors = {name[len(arguments.prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(arguments.prefix)}
    jv.weights.write(arguments.out, tensors)
    print(f"{arguments.out}: {len(tensors)} tensors, {sum(tensor.size for tensor in tensors.values()):,} numbers")
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from jaxvision.train import diagnosis

    problems = 0
    sections = [diagnosis.installation(), diagnosis.devices(), diagnosis.disk(arguments.run or Path.cwd())]
    if arguments.data:
        sections.append(diagnosis.data_folder(arguments.data))
    if arguments.run:
        sections.append(diagnosis.run_folder(arguments.run))
    for section in sections:
        print(section.title)
        for line in section.facts:
            print(f"  {line}")
        for line in section.problems:
            print(f"  PROBLEM: {line}")
        problems += len(section.problems)
    print("no problems found" if not problems else f"{problems} problem{'s' * (problems > 1)} found")
    return 1 if problems else 0


def _add_convert(commands) -> None:
    about = "Write a file of weights in another format; with --model and --to, under another library's names."
    convert = commands.add_parser("convert", help="write a file of weights in another format or layout", description=about)
    convert.add_argument("source", type=Path, metavar="IN", help="a .pth, .pt, .safetensors or .npz file")
    convert.add_argument("out", type=Path, metavar="OUT", help="a new file; the end of its name is its format")
    convert.add_argument("--model", help="the model that the weights must fit, for example resnet50")
    convert.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="an option of the model")
    convert.add_argument("--layout", help="whose names IN has (torchvision, timm, ...; seen by the names by default)")
    convert.add_argument("--to", help="whose names OUT gets")
    convert.add_argument("--key", help="which of several state dicts in IN, for example teacher")
    convert.add_argument("--prefix", default="", help="only names that begin so, without it, for example module.")
    convert.set_defaults(action=_convert)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="jaxvision", description="Functional computer vision on JAX and Flax Linen.")
    parser.add_argument("--version", action="version", version=f"jaxvision {jv.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    models = commands.add_parser("models", help="list the models whose name matches a pattern", description="List model names.")
    models.add_argument("pattern", nargs="?", default="*", help="shell pattern, for example 'vit*' (all by default)")
    models.set_defaults(action=_models)

    predict = commands.add_parser("predict", help="classify images with a trained run", description="Print the top classes of images.")
    predict.add_argument("run", type=Path, metavar="RUN_OR_CHECKPOINT", help="a run folder, or RUN/checkpoints/STEP")
    predict.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="image files")
    predict.add_argument("--top", type=int, default=5, help="how many classes to print (5)")
    predict.add_argument("--json", action="store_true", help="print JSON for machines instead of a table")
    predict.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="replace an option of the run, for example data=FOLDER when it moved",
    )
    predict.set_defaults(action=_predict)

    _add_convert(commands)
    doctor = commands.add_parser("doctor", help="report devices, versions, disk and problems", description="Look for problems.")
    doctor.add_argument("--data", type=Path, help="also say which data layout a folder holds")
    doctor.add_argument("--run", type=Path, help="also check a run folder: its files, rows and checkpoints")
    doctor.set_defaults(action=_doctor)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """The entry point of the command; returns its exit code: 0, 1 when the doctor found problems, 2 for a mistake in the call."""
    parsed = _parser().parse_args(arguments)
    try:
        return parsed.action(parsed)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        print(f"jaxvision {parsed.command}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
