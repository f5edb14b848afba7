"""The encoder of a run folder: the network without its head, its variables, and how it expects its images."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import flax.linen as nn

from jaxvision import checks
from jaxvision.train.experiment import Experiment
from jaxvision.train.run_folder import load
from jaxvision.train.state import teacher, variables
from jaxvision.typing import drop_head


class TrainedEncoder(NamedTuple):
    """An encoder from a run folder: ``model.apply(variables, image, method="features")`` for images that ``recipe`` has prepared.

    >>> import jaxvision as jv
    >>> jv.train.TrainedEncoder._fields
    ('model', 'variables', 'recipe', 'experiment')
    """

    model: nn.Module  # without a head
    variables: dict
    recipe: Callable | None  # (key, image) -> image: how evaluation prepares an image
    experiment: Experiment  # with the data that the encoder was trained on


def load_encoder(folder: str | Path, *, which: Literal["student", "teacher"] = "student") -> TrainedEncoder:
    """The encoder that a run trained, or with ``which="teacher"`` the moving average that DINO and BYOL keep.

    Raises ValueError for another ``which``, where the run keeps no teacher, and what ``load`` raises for a folder that is no run folder.

    >>> import contextlib, io, tempfile, jaxvision as jv  # slow
    >>> from experiments import lenet_digits
    >>> folder = tempfile.mkdtemp()
    >>> with contextlib.redirect_stdout(io.StringIO()):
    ...     jv.train.main(lenet_digits.config, ["--smoke", "--workdir", folder])
    >>> jv.train.load_encoder(folder).model.num_classes
    0
    """
    checks.one_of("which", which, ("student", "teacher"))
    experiment, state = load(folder)
    found = teacher(state) if which == "teacher" else variables(state, experiment.evaluated)
    return TrainedEncoder(experiment.model.clone(num_classes=0), drop_head(found), experiment.recipe, experiment)
