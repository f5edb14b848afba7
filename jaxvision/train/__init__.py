"""One step, one loop and three drivers for every objective; optimizers, checkpoints and the run folder."""

from jaxvision._public import set_public_names
from jaxvision.train.allocator import keep_memory
from jaxvision.train.checkpoint import Checkpoints, DamagedCheckpoint
from jaxvision.train.command import main
from jaxvision.train.encoder import TrainedEncoder, load_encoder
from jaxvision.train.experiment import Experiment, total_steps
from jaxvision.train.loop import run
from jaxvision.train.optimizers import adam, adamw, freeze, lamb, lars, momentum, muon, sgd
from jaxvision.train.options import RunOptions
from jaxvision.train.remat import rematerialized
from jaxvision.train.run_folder import load, restore
from jaxvision.train.schedules import cosine, step_decay, warmup_cosine
from jaxvision.train.sharding import compile_step, initialize_distributed, place, process_rows
from jaxvision.train.signals import EXIT_CODE, Interrupted
from jaxvision.train.state import TrainState, init, teacher, variables
from jaxvision.train.step import make_step
from jaxvision.train.stepping import NotFinite

__all__ = [
    # an experiment and its run
    "Experiment",
    "RunOptions",
    "run",
    "main",
    "total_steps",
    "load",
    "restore",
    "TrainedEncoder",
    "load_encoder",
    # one step
    "TrainState",
    "init",
    "make_step",
    "compile_step",
    "rematerialized",
    "variables",
    "teacher",
    # optimizers
    "adam",
    "adamw",
    "freeze",
    "lamb",
    "lars",
    "momentum",
    "muon",
    "sgd",
    # schedules
    "cosine",
    "step_decay",
    "warmup_cosine",
    # devices and processes
    "initialize_distributed",
    "place",
    "process_rows",
    "keep_memory",
    # checkpoints, and how a run ends early
    "Checkpoints",
    "DamagedCheckpoint",
    "EXIT_CODE",
    "Interrupted",
    "NotFinite",
]
set_public_names(__name__, __all__)
