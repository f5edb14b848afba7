"""The log of a run: metrics.jsonl (one object a row), TensorBoard events and the console, written by the primary process only."""

import json
import math
import os
import time
from pathlib import Path
from types import TracebackType

from jaxvision.train import sharding
from jaxvision.train.console import Console, epoch_line
from jaxvision.train.experiment import Experiment
from jaxvision.train.options import RunOptions

_FILE = "metrics.jsonl"


def _storable(value):
    """A number for JSON: numpy and jax scalars as Python's, numbers that are not finite as the strings "nan", "inf", "-inf"."""
    value = value.item() if hasattr(value, "item") else value
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def rows(path: Path) -> list[dict]:
    """The rows of a metrics file; an unfinished last line is left out. Raises ValueError naming a line that is not JSON."""
    found = []
    lines = path.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines[:-1], 1):  # text after the last newline is an unfinished row
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            raise ValueError(f"{path}: line {number} is not JSON: {line[:80]!r}") from None
    return found


def rows_of(workdir: Path) -> list[dict]:
    """The rows that a run folder holds so far; an empty list where there are none."""
    path = Path(workdir) / _FILE
    return rows(path) if path.exists() else []


class MetricsFile:
    """metrics.jsonl: rows ``{"step", "epoch", "split", metrics...}``. Floats read back bit for bit.

    Numbers that are not finite are written as "nan", "inf" or "-inf", because JSON has none. Opening the file removes the rows after
    ``step``, the step at which a run resumes, and an unfinished last line, so that no row is there twice.
    """

    def __init__(self, path: Path, *, step: int = 0):
        self.path = Path(path)
        if self.path.exists():
            kept = [row for row in rows(self.path) if row["step"] <= step]
            temporary = self.path.with_suffix(".tmp")
            with temporary.open("w", encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in kept)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.path)
        self._file = self.path.open("a", encoding="utf-8")

    def write(self, row: dict) -> None:
        """Append a row."""
        self._file.write(json.dumps({name: _storable(value) for name, value in row.items()}) + "\n")
        self._file.flush()

    def sync(self) -> None:
        """Wait until every row is on disk: a checkpoint must not be newer than its rows."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TensorBoard:
    """TensorBoard events of every row, as ``split/metric``; without tensorboardX one printed line and nothing else.

    TensorBoard drops events after ``step`` that an interrupted run left in the folder.
    """

    def __init__(self, folder: Path, *, step: int = 0):
        self._writer = None
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            print("no TensorBoard events: tensorboardX is not installed (pip install tensorboardX)")
            return
        self._writer = SummaryWriter(str(folder), purge_step=step + 1)

    def write(self, row: dict) -> None:
        """Record a row's numbers."""
        if self._writer is None:
            return
        for name, value in row.items():
            if name not in ("step", "epoch", "split") and value is not None:
                self._writer.add_scalar(f"{row['split']}/{name}", float(value), row["step"])

    def sync(self) -> None:
        """Hand every event to the operating system."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Flush and close the event file."""
        if self._writer is not None:
            self._writer.close()


class RunLog:
    """The log of one run, continued after ``step``; a context manager."""

    def __init__(self, experiment: Experiment, options: RunOptions, workdir: Path, *, step: int):
        self._experiment, self._log_every = experiment, options.log_every
        self._last_row, self._last_time, self._row_in_call = step, time.perf_counter(), False
        self._writers = []
        if sharding.is_primary():
            self._writers = [MetricsFile(workdir / _FILE, step=step), TensorBoard(workdir, step=step)]
            self._console = Console(experiment.steps, experiment.epochs, step)

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._writers:
            self._console.close()
        self.sync()
        for writer in self._writers:
            writer.close()

    def row(self, step: int, epoch: int, split: str, metrics: dict) -> None:
        """Write one row to metrics.jsonl and TensorBoard."""
        for writer in self._writers:
            writer.write({"step": step, "epoch": epoch, "split": split} | metrics)

    def step(self, step: int, metrics: dict, *, last: int | None = None) -> None:
        """Record a training step: in the progress bar, and every ``log_every`` steps as a row.

        ``last`` is the last step of its call; the steps of one call share one rate.
        """
        now, last = time.perf_counter(), step if last is None else last
        rate = (last - self._last_row) * self._experiment.batch_size / max(now - self._last_time, 1e-9)
        if self._writers:
            self._console.update(step, metrics | {"images_per_second": rate})
        if step % self._log_every == 0 or step == self._experiment.steps:
            self.row(step, self._experiment.epoch_of(step), "train", {"learning_rate": None} | metrics | {"images_per_second": rate})
            self._row_in_call = True
        if step == last and self._row_in_call:
            self._last_row, self._last_time, self._row_in_call = step, now, False

    def epoch(self, split: str, step: int, epoch: int, metrics: dict) -> None:
        """Record an epoch's metrics: a row, and a line in the console. Training means are rows of the split "train_epoch"."""
        self.row(step, epoch, "train_epoch" if split == "train" else split, metrics)
        if line := epoch_line("Train" if split == "train" else "Eval", epoch, metrics):
            self.line(line)
        self._last_row, self._last_time = step, time.perf_counter()  # evaluation is not training time

    def line(self, text: str) -> None:
        """Print a line in the console."""
        if self._writers:
            self._console.line(text)

    def sync(self) -> None:
        """Wait until everything recorded so far is on disk."""
        for writer in self._writers:
            writer.sync()
