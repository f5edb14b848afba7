"""Everything a run says while it runs: metrics.jsonl, TensorBoard and the console, from the primary process only."""

import time
from pathlib import Path

from jaxvision.train import logging, sharding
from jaxvision.train.experiment import Experiment

_FILE = "metrics.jsonl"


class Journal:
    """The record of one run, continued after ``step``; a context manager."""

    def __init__(self, experiment: Experiment, workdir: Path, *, step: int):
        self.experiment, self._primary = experiment, sharding.is_primary()
        self._last_row, self._last_time, self._written = step, time.perf_counter(), False
        if self._primary:
            self._metrics = logging.MetricsFile(workdir / _FILE, step=step)
            self._tensorboard = logging.TensorBoard(workdir, step=step)
            self._console = logging.Console(experiment.steps, experiment.epochs, step)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *exception) -> None:
        if self._primary:
            self.sync()
            for writer in (self._console, self._tensorboard, self._metrics):
                writer.close()

    @staticmethod
    def rows(workdir: Path) -> list[dict]:
        """The rows that a run folder holds so far; an empty list where there are none."""
        path = Path(workdir) / _FILE
        return logging.rows(path) if path.exists() else []

    def row(self, step: int, epoch: int, split: str, figures: dict) -> None:
        """One row in metrics.jsonl and TensorBoard."""
        if self._primary:
            row = {"step": step, "epoch": epoch, "split": split} | figures
            self._metrics.write(row)
            self._tensorboard.write(row)

    def step(self, step: int, figures: dict, *, last: int | None = None) -> None:
        """A training step: the progress bar always, a row every ``log_every`` steps. ``last``: of its call, whose steps share one rate."""
        now, last = time.perf_counter(), step if last is None else last
        rate = (last - self._last_row) * self.experiment.batch_size / max(now - self._last_time, 1e-9)
        if self._primary:
            self._console.update(step, figures | {"images_per_second": rate})
        if step % self.experiment.log_every == 0 or step == self.experiment.steps:
            self.row(step, self.experiment.epoch_of(step), "train", {"learning_rate": None} | figures | {"images_per_second": rate})
            self._written = True
        if step == last and self._written:
            self._last_row, self._last_time, self._written = step, now, False

    def epoch(self, split: str, step: int, epoch: int, figures: dict) -> None:
        """An epoch's figures: a row, and a line in the console. Training means are rows of the split "train_epoch"."""
        self.row(step, epoch, "train_epoch" if split == "train" else split, figures)
        if "loss" in figures:
            self.line(logging.epoch_line("Train" if split == "train" else "Eval", epoch, figures["loss"], figures.get("top1")))
        self._last_row, self._last_time = step, time.perf_counter()  # evaluation is not training time

    def line(self, text: str) -> None:
        """A line for the reader of the console."""
        if self._primary:
            self._console.line(text)

    def sync(self) -> None:
        """Everything said so far is on disk."""
        if self._primary:
            self._metrics.sync()
            self._tensorboard.sync()
