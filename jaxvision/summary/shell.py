"""The command ``jaxvision summary``: models by name, their reports as a table, side by side, as JSON or as CSV."""

import argparse
import ast
import json

from jaxvision.models import create_model
from jaxvision.summary.rows import Report, report
from jaxvision.summary.table import comparison_of, csv_of

_SIDES = {"lenet5": 32, "cifarnet": 32, "inception_v3": 299, "inception_v4": 299, "xception": 299}  # made for another size than 224
_CIFAR = ("resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "plain")


def _sides(text: str | None) -> tuple[int, int] | None:
    """Rows and columns of "224" or "224x320"."""
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ValueError(f"--image-size: found {text!r}, expected a positive number such as 224, or rows and columns such as 224x320")
    return int(parts[0]), int(parts[-1])


def _value(text: str):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _options(pairs: list[str]) -> dict:
    for pair in pairs:
        if "=" not in pair:
            raise ValueError(f"--option: found {pair!r}, expected name=value")
    return {name.replace("-", "_"): _value(value) for name, _, value in (pair.partition("=") for pair in pairs)}


def _made(name: str, options: dict, sides: tuple[int, int] | None):
    """The model, for ``sides`` where it depends on the size of its images, and the sides it is made for."""
    try:
        model = create_model(name, **options)
        own = getattr(model, "image_size", None) or (32 if name.startswith(_CIFAR) else _SIDES.get(name, 224))
        if sides and sides[0] == sides[1] != own and "image_size" not in options and hasattr(model, "image_size"):
            try:
                model = create_model(name, **options, image_size=sides[0])
            except TypeError:
                pass  # it takes any size
    except TypeError as error:
        raise ValueError(str(error)) from error
    return model, sides or (own, own)


def reports_of(arguments: argparse.Namespace) -> list[Report]:
    """A report for each name of the call."""
    options, sides = _options(arguments.option), _sides(arguments.image_size)
    if arguments.num_classes is not None:
        options["num_classes"] = arguments.num_classes
    if arguments.channels is not None and arguments.channels < 1:
        raise ValueError(f"--channels: found {arguments.channels}, expected at least 1")
    found = []
    for name in arguments.names:
        model, (rows, columns) = _made(name, options, sides)
        channels = arguments.channels or (1 if name == "lenet5" else 3)
        made = report(model, (rows, columns, channels), convention=arguments.convention, name=name)
        found.append(made if arguments.depth is None or arguments.compare else made.at_depth(arguments.depth))
    return found


def text_of(arguments: argparse.Namespace) -> str:
    """What the command prints."""
    reports = reports_of(arguments)
    if arguments.json:
        found = [made.as_dict() for made in reports]
        return json.dumps(found[0] if len(found) == 1 else found, indent=2)
    if arguments.csv:
        return csv_of(reports)
    return comparison_of(reports) if arguments.compare else "\n\n".join(map(str, reports))
