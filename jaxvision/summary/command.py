"""The command ``jaxvision summary``: reports of models by name, as a table, side by side, as JSON or as CSV."""

import argparse
import json

from jaxvision.models import create_model
from jaxvision.models.catalog import ALIASES
from jaxvision.summary._report import Report, report
from jaxvision.summary.table import comparison_of, csv_of

_IMAGE_SIZES = {"lenet5": 32, "cifarnet": 32, "inception_v3": 299, "inception_v4": 299, "xception": 299}  # where it is not 224
_CIFAR_PREFIXES = ("resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "plain")


def _parsed_size(text: str | None) -> tuple[int, int] | None:
    """(height, width) of a text such as "224" or "224x320"."""
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ValueError(f"--image-size: found {text!r}, expected a positive number such as 224, or rows and columns such as 224x320")
    return int(parts[0]), int(parts[-1])


def _check_flags(arguments: argparse.Namespace) -> None:
    """Raise ValueError for a flag that cannot be combined with ``--compare``, which prints a table of totals alone."""
    for flag, other in (("json", "prints the totals of every model"), ("csv", "prints the rows of every model")):
        if arguments.compare and getattr(arguments, flag):
            raise ValueError(f"--compare: found together with --{flag}, expected one of them; --{flag} {other} without it")
    if arguments.compare and arguments.depth is not None:
        raise ValueError("--depth: found together with --compare, which prints totals and no rows; leave one of them out")


def _model_and_size(name: str, options: dict, size: tuple[int, int] | None):
    """The model and the image size (height, width) to report it at: ``size``, or else the size that the model is made for.

    ``name`` is the catalog's own. A model that depends on the image size is made for ``size``.
    """
    try:
        model = create_model(name, **options)
        own = getattr(model, "image_size", None) or (32 if name.startswith(_CIFAR_PREFIXES) else _IMAGE_SIZES.get(name, 224))
        if size and size[0] == size[1] != own and "image_size" not in options and hasattr(model, "image_size"):
            try:
                model = create_model(name, **options, image_size=size[0])
            except TypeError:
                pass  # the model takes any size
    except TypeError as error:
        raise ValueError(str(error)) from error
    return model, size or (own, own)


def reports_of(arguments: argparse.Namespace, options: dict) -> list[Report]:
    """The report of each named model, made with ``options``."""
    options, size = dict(options), _parsed_size(arguments.image_size)
    if arguments.num_classes is not None:
        options["num_classes"] = arguments.num_classes
    if arguments.channels is not None and arguments.channels < 1:
        raise ValueError(f"--channels: found {arguments.channels}, expected at least 1")
    reports = []
    for name in arguments.names:
        canonical = ALIASES.get(name, name)
        model, (rows, columns) = _model_and_size(canonical, options, size)
        channels = arguments.channels or (1 if canonical == "lenet5" else 3)
        full = report(model, (rows, columns, channels), convention=arguments.convention, name=name)
        reports.append(full if arguments.depth is None else full.at_depth(arguments.depth))
    return reports


def text_of(arguments: argparse.Namespace, options: dict) -> str:
    """The output of the command for models with ``options``."""
    _check_flags(arguments)
    reports = reports_of(arguments, options)
    if arguments.json:
        dicts = [report.as_dict() for report in reports]
        return json.dumps(dicts[0] if len(dicts) == 1 else dicts, indent=2)
    if arguments.csv:
        return csv_of(reports)
    return comparison_of(reports) if arguments.compare else "\n\n".join(map(str, reports))
