"""Prefetching of training batches to the devices, and the time that the devices wait for them."""

import time
from collections.abc import Iterator

import jax
import numpy as np

from jaxvision import data
from jaxvision.train import sharding
from jaxvision.train.experiment import Experiment
from jaxvision.train.options import RunOptions


def _stacked(batches: list[dict]) -> dict:
    """The batches of k steps as one batch with leaves [B, k, ...]."""
    return jax.tree.map(lambda *rows: np.stack(rows, axis=1), *batches)


class Feed:
    """Batches that are read and placed on the devices while the devices compute the previous batch.

    ``input_wait_seconds`` is an upper bound of the time in which the devices waited for a batch: the time to get a batch counts in full
    if the devices had finished the step before by then.
    """

    def __init__(self, experiment: Experiment, options: RunOptions, *, breakage: data.Breakage) -> None:
        self._experiment, self._options, self._breakage = experiment, options, breakage
        self._running: jax.Array | None = None
        self.total = {"training_seconds": 0.0, "input_wait_seconds": 0.0}
        self.resume()

    def calls(self, start: int) -> Iterator[tuple[int, int, dict]]:
        """(first step, last step, batch on the devices) of every call after step ``start``, to the end of the run."""
        experiment, options = self._experiment, self._options
        batches = data.batches(
            data.without_images(experiment.train) if options.resident else experiment.train,
            experiment.batch_size,
            seed=experiment.seed,
            start=start,
            steps=experiment.steps - start,
            rows=sharding.process_rows(experiment.batch_size),
            threads=options.threads,
            breakage=self._breakage,
        )
        try:
            for first, last in options.calls(experiment, start):
                begun = time.perf_counter()
                batch = next(batches) if options.steps_per_call == 1 else _stacked([next(batches) for _ in range(first, last + 1)])
                batch = sharding.place_batch(batch, driver=options.driver)
                if self._running is None or self._running.is_ready():
                    self._waited += time.perf_counter() - begun
                yield first, last, batch
        finally:
            batches.close()

    def runs(self, result: jax.Array) -> None:
        """Record that the devices are computing ``result``: once it is ready, they are idle."""
        self._running = result

    def lap(self) -> dict[str, float]:
        """The seconds of training and of waiting since ``resume``. They are added to ``total``."""
        lap = {"training_seconds": time.perf_counter() - self._begun, "input_wait_seconds": self._waited}
        self.total = {name: self.total[name] + seconds for name, seconds in lap.items()}
        return lap

    def resume(self) -> None:
        """Restart the clock, after an evaluation."""
        self._begun, self._waited = time.perf_counter(), 0.0
