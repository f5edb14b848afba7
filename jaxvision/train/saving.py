"""The checkpoints of a run: when one is written, and how the best state is restored."""

import numpy as np

from jaxvision.train.checkpoint import Checkpoints, DamagedCheckpoint
from jaxvision.train.experiment import Experiment
from jaxvision.train.logging import RunLog
from jaxvision.train.options import RunOptions
from jaxvision.train.state import TrainState


class Saving:
    """Saves the states of a run and restores the best one. ``template`` is a state's shapes, types and places."""

    def __init__(self, experiment: Experiment, options: RunOptions, checkpoints: Checkpoints, log: RunLog, template: TrainState):
        self._checkpoints, self._log, self._template = checkpoints, log, template
        self._steps, self._interval = experiment.steps, options.save_interval(experiment)

    def is_due(self, first: int, last: int) -> bool:
        """Whether the state is saved after a call of the steps ``first`` to ``last``.

        A save that is still being written does not count yet, so that there are two saves in an interval.
        """
        half = max(1, self._interval // 2)
        return last // half > (first - 1) // half or last == self._steps

    def save(self, state: TrainState, best_step: int) -> None:
        """Start a checkpoint, once every row up to its step is on disk; ``best_step`` is kept."""
        self._log.sync()
        self._checkpoints.save(state, step=int(state.step), best=best_step)
        if self._interval == 1:
            self._checkpoints.wait()

    def wait(self) -> None:
        """Wait until nothing is being saved."""
        self._checkpoints.wait()

    def best(self, state: TrainState, best_step: int) -> TrainState:
        """The best epoch's state where validation selected one and its checkpoint is sound, else ``state``."""
        if best_step < 0 or best_step == int(np.asarray(state.step)):
            return state
        try:
            return self._checkpoints.restore(best_step, self._template)
        except DamagedCheckpoint as damage:
            self._log.line(f"the best epoch's checkpoint is damaged ({damage}): the last step is used instead")
            return state
