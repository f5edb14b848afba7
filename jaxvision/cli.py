"""The command ``jaxvision``: models, summary, predict, convert, doctor. Its help and the list of models do not import jax."""

import argparse
import ast
import json
import os
import sys
from pathlib import Path
from typing import Any

import jaxvision as jv

_PREDICT = "Print the top classes of images. Files that cannot be read are named on stderr, and the exit code is 1."


def _models(arguments: argparse.Namespace) -> int:
    names = jv.list_models(arguments.pattern)
    if not names:
        print(f"no model is called {arguments.pattern!r}; `jaxvision models` lists all", file=sys.stderr)
        return 2
    print("\n".join(names))
    return 0


def _summary(arguments: argparse.Namespace) -> int:
    from jaxvision.summary import command

    try:
        print(command.text_of(arguments, _options(arguments.option)), flush=True)
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _overrides(pairs: list[str]) -> dict:
    """``--option name=value`` pairs as a dict."""
    for pair in pairs:
        if "=" not in pair:
            raise ValueError(f"--option: found {pair!r}, expected name=value")
    return {name.replace("-", "_"): value for name, _, value in (pair.partition("=") for pair in pairs)}


def literal(text: str) -> Any:
    """The value of an option: numbers, truth values and tuples as Python writes them, other values as text."""
    try:
        return ast.literal_eval(text.title() if text in ("true", "false") else text)
    except (ValueError, SyntaxError, TypeError):
        return text


def _options(pairs: list[str]) -> dict:
    """A model's ``--option name=value`` pairs as a dict of literals."""
    return {name: literal(text) for name, text in _overrides(pairs).items()}


def _split_run(path: Path) -> tuple[Path, int | None]:
    """(run folder, step): a checkpoint folder ``RUN/checkpoints/STEP`` is a run folder and a step."""
    if path.name.isdigit() and path.parent.name == "checkpoints":
        return path.parent.parent, int(path.name)
    if not path.exists():
        raise ValueError(f"{path}: no such folder; expected a run folder (with config.json) or RUN/checkpoints/STEP")
    return path, None


def _readable(paths: list[Path]) -> list[tuple]:
    """(path, image) of the files that can be read; the others are named on stderr. Raises ValueError where none can be."""
    images, wrong = [], []
    for path in paths:
        try:
            images.append((path, jv.data.read_image(path)))
        except (OSError, ValueError) as error:
            wrong.append(str(error))
    if not images:
        raise ValueError("; ".join(wrong))
    for line in wrong:
        print(f"jaxvision predict: {line}", file=sys.stderr)
    return images


def _predict(arguments: argparse.Namespace) -> int:
    if arguments.top < 1:
        raise ValueError(f"--top: found {arguments.top}, expected at least 1")
    run_folder, step = _split_run(arguments.run)
    images = _readable(arguments.images)  # before jax is loaded, so that a wrong path is reported at once
    experiment, state = jv.train.load(run_folder, step=step, **_overrides(arguments.option))
    if experiment.reads != ("image",):
        fields = ", ".join(experiment.reads)
        raise ValueError(
            f"RUN_OR_CHECKPOINT: found {arguments.run}, whose model reads {fields}, expected a run whose model reads only images"
        )
    shape = experiment.train[0]["image"].shape
    fit = getattr(experiment.test, "crop", None) or (lambda image: jv.data.fit_image(image, shape))
    fitted = [fit(image) for _, image in images]
    variables = jv.train.variables(state, experiment.evaluated)
    probabilities = jv.evaluate.predict(experiment.model, variables, fitted, recipe=experiment.recipe)
    classes = list(experiment.train.classes)
    found = []
    for (path, _), row in zip(images, probabilities, strict=True):
        top = row.argsort()[::-1][: arguments.top]
        found.append({"image": str(path), "classes": [{"class": classes[index], "probability": float(row[index])} for index in top]})
    print(json.dumps(found, indent=2) if arguments.json else _table(found))
    return 0 if len(images) == len(arguments.images) else 1


def _table(found: list[dict]) -> str:
    lines = []
    for row in found:
        lines.append(row["image"])
        width = max(len(entry["class"]) for entry in row["classes"])
        lines += [f"  {entry['class']:<{width}}  {entry['probability']:7.2%}" for entry in row["classes"]]
    return "\n".join(lines)


def _check_target(layout: str | None, model) -> None:
    """Raise ValueError where ``--to`` is no layout of the model, or is missing where there are several."""
    known = list(jv.weights.rules.rules_of(model))
    if layout not in known and not (layout is None and len(known) == 1):
        found = "missing" if layout is None else f"found {layout!r}"
        raise ValueError(f"--to: {found}, expected {' or '.join(map(repr, known)) or 'a model that another library has'}")


def _renamed(arguments: argparse.Namespace, tensors: dict) -> dict:
    """The tensors under another library's names, after a check that they fit the model."""
    try:
        model = jv.create_model(arguments.model, **_options(arguments.option))
    except TypeError as error:  # an option that the model lacks
        raise ValueError(error) from None
    variables = jv.weights.from_torch(model, tensors, layout=arguments.layout, drop_head=arguments.drop_head)
    _check_target(arguments.to, model)
    return jv.weights.to_torch(model, variables, layout=arguments.to)


def _source(path: Path) -> Path:
    """The file to convert. Raises FileNotFoundError or IsADirectoryError, with what there is instead."""
    if str(path).startswith("hf:"):
        return path
    return jv.data.paths.existing_file(path, "IN", "a .pth, .pt, .safetensors or .npz file, hf:owner/name, or a run folder")


def _read(arguments: argparse.Namespace) -> dict:
    """The tensors of a file, renamed where that is asked for."""
    tensors = jv.weights.read(_source(arguments.source), key=arguments.key)
    tensors = jv.weights.torch_names.behind(arguments.prefix, tensors)
    return _renamed(arguments, tensors) if arguments.model else tensors


def _is_run(path: Path) -> bool:
    return (path / "config.json").is_file() or (path.name.isdigit() and path.parent.name == "checkpoints")


def _exported(arguments: argparse.Namespace) -> dict:
    """The encoder (or classifier) of a run folder under a library's names, without the objective's other modules."""
    for flag in ("model", "layout", "prefix"):
        if getattr(arguments, flag):
            raise ValueError(f"--{flag}: a run folder has its own model; leave it out")
    if arguments.key not in (None, "student", "teacher"):
        raise ValueError(f"--key: found {arguments.key!r}, expected 'student' or 'teacher' of a run")
    run_folder, step = _split_run(arguments.source)
    experiment, state = jv.train.load(run_folder, step=step, **_overrides(arguments.option))
    of_teacher = arguments.key == "teacher"
    variables = jv.train.teacher(state) if of_teacher else jv.train.variables(state, experiment.evaluated)
    if arguments.drop_head:
        variables = jv.models.drop_head(variables)
    known = list(jv.weights.rules.rules_of(experiment.model))
    layout = arguments.to or ("timm" if "timm" in known else next(iter(known), None))
    _check_target(layout, experiment.model)
    return jv.weights.to_torch(experiment.model, variables, layout=layout)


def _convert(arguments: argparse.Namespace) -> int:
    if arguments.out.exists():
        raise ValueError(f"OUT: {arguments.out} exists already; choose another name or remove it")
    jv.weights.files.check_suffix(arguments.out)  # before a run is loaded, which takes long
    of_run = _is_run(arguments.source)
    if (arguments.to or arguments.layout or arguments.drop_head) and not arguments.model and not of_run:
        raise ValueError("--model: missing; names of a layout can be changed only for a model, for example --model resnet50")
    jv.data.paths.existing(arguments.out.parent, "OUT", "a folder to write in")
    tensors = _exported(arguments) if of_run else _read(arguments)
    jv.weights.write(arguments.out, tensors)
    print(f"{arguments.out}: {len(tensors)} tensors, {sum(tensor.size for tensor in tensors.values()):,} numbers")
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from jaxvision.train import doctor

    problems = 0
    sections = [doctor.installation(), doctor.devices(), doctor.disk(arguments.run or Path.cwd())]
    if arguments.data:
        sections.append(doctor.data_folder(arguments.data))
    if arguments.run:
        sections.append(doctor.run_folder(arguments.run))
    for section in sections:
        print(section.title)
        for line in section.facts:
            print(f"  {line}")
        for line in section.problems:
            print(f"  PROBLEM: {line}")
        problems += len(section.problems)
    print("no problems found" if not problems else f"{problems} problem{'s' * (problems > 1)} found")
    return 1 if problems else 0


def _add_summary(commands) -> None:
    about = "Print one row a layer: output, parameters, MACs, memory, receptive field and total stride for one image. The model is not run."
    summary = commands.add_parser("summary", help="print the layers of a model and their cost", description=about)
    summary.add_argument("names", nargs="+", metavar="NAME", help="model names, see `jaxvision models`")
    summary.add_argument("--compare", action="store_true", help="the totals of several models side by side")
    summary.add_argument("--image-size", metavar="SIDE", help="224, or rows and columns as 224x320 (what the model was made for)")
    summary.add_argument("--channels", type=int, help="channels of the image (3; lenet5: 1)")
    summary.add_argument("--num-classes", type=int, help="outputs (the model's own number, most often 1000; 0: an encoder)")
    summary.add_argument("--depth", type=int, help="one row for all layers whose paths agree in their first DEPTH parts")
    conventions = ("weights", "torchinfo", "flops")
    summary.add_argument("--convention", choices=conventions, default="weights", help="what is counted; see docs/summary.md (weights)")
    summary.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="a model's option, for example stem=cifar")
    form = summary.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON for machines instead of a table")
    form.add_argument("--csv", action="store_true", help="print a line a row for spreadsheets")
    summary.set_defaults(action=_summary)


def _add_convert(commands) -> None:
    about = (
        "Write a file of weights in another format; with --model and --to, under another library's names. Of a run folder only the "
        "encoder is written (of a supervised run, the classifier)."
    )
    convert = commands.add_parser("convert", help="write a file of weights in another format or layout", description=about)
    convert.add_argument("source", type=Path, metavar="IN", help="a weights file, hf:owner/name, a run folder or RUN/checkpoints/STEP")
    convert.add_argument("out", type=Path, metavar="OUT", help="a new file; the end of its name is its format")
    convert.add_argument("--model", help="the model that the weights are for, for example resnet50")
    convert.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="an option of the model, or of the run")
    convert.add_argument("--layout", help="the layout of IN (torchvision, timm, ...; found from the names by default)")
    convert.add_argument("--to", help="the layout of OUT (of a run: timm, where it has the model)")
    convert.add_argument("--key", help="which of several state dicts in IN, for example student; of a run, teacher")
    convert.add_argument("--prefix", default="", help="only names that begin so, without it, for example module.")
    convert.add_argument("--drop-head", action="store_true", help="leave the classifier out (with --model, or of a run)")
    convert.set_defaults(action=_convert)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="jaxvision", description="Functional computer vision on JAX and Flax Linen.")
    parser.add_argument("--version", action="version", version=f"jaxvision {jv.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    models = commands.add_parser("models", help="list the models whose name matches a pattern", description="List model names.")
    models.add_argument("pattern", nargs="?", default="*", help="shell pattern, for example 'vit*' (all by default)")
    models.set_defaults(action=_models)

    _add_summary(commands)
    predict = commands.add_parser("predict", help="classify images with a trained run", description=_PREDICT)
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
    doctor = commands.add_parser(
        "doctor",
        help="report devices, versions, disk and problems",
        description="Report devices, versions and disk space, and look for problems.",
    )
    doctor.add_argument("--data", type=Path, help="also report the data layouts in a folder; a folder without a known layout is a problem")
    doctor.add_argument("--run", type=Path, help="also check a run folder: its files, rows and checkpoints")
    doctor.set_defaults(action=_doctor)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """The entry point of the command; returns its exit code.

    0; 1 when the doctor found problems or one of several images cannot be read; 2 for a mistake in the call.
    """
    parsed = _parser().parse_args(arguments)
    try:
        return parsed.action(parsed)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        lines = [line.strip() for line in str(error).splitlines()]
        print(f"jaxvision {parsed.command}: {'; '.join(lines)}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
