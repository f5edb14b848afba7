"""The command ``jaxvision summary``: models by name, their reports as a table, side by side, as JSON or as CSV."""

import argparse
import json

from jaxvision.models import create_model
from jaxvision.models.catalog import ALIASES
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


def _check_form(arguments: argparse.Namespace) -> None:
    """Raises ValueError for a flag that another would silence: ``--compare`` has totals alone, and is a table."""
    for flag, other in (("json", "prints the totals of every model"), ("csv", "prints a line a row of every model")):
        if arguments.compare and getattr(arguments, flag):
            raise ValueError(f"--compare: found beside --{flag}, expected one of them; --{flag} {other} without it")
    if arguments.compare and arguments.depth is not None:
        raise ValueError("--depth: found beside --compare, which has no rows to put together; leave one of them out")


def _made(name: str, options: dict, sides: tuple[int, int] | None):
    """The model, for ``sides`` where it depends on the size of its images, and the sides it is made for; ``name`` is the catalog's own."""
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


def reports_of(arguments: argparse.Namespace, options: dict) -> list[Report]:
    """A report for each name of the call, of models with ``options``."""
    options, sides = dict(options), _sides(arguments.image_size)
    if arguments.num_classes is not None:
        options["num_classes"] = arguments.num_classes
    if arguments.channels is not None and arguments.channels < 1:
        raise ValueError(f"--channels: found {arguments.channels}, expected at least 1")
    found = []
    for name in arguments.names:
        known = ALIASES.get(name, name)
        model, (rows, columns) = _made(known, options, sides)
        channels = arguments.channels or (1 if known == "lenet5" else 3)
        made = report(model, (rows, columns, channels), convention=arguments.convention, name=name)
        found.append(made if arguments.depth is None else made.at_depth(arguments.depth))
    return found


def text_of(arguments: argparse.Namespace, options: dict) -> str:
    """What the command prints for models with ``options``."""
    _check_form(arguments)
    reports = reports_of(arguments, options)
    if arguments.json:
        found = [made.as_dict() for made in reports]
        return json.dumps(found[0] if len(found) == 1 else found, indent=2)
    if arguments.csv:
        return csv_of(reports)
    return comparison_of(reports) if arguments.compare else "\n\n".join(map(str, reports))
