"""Where figures go: metrics.jsonl (one object a row), TensorBoard, and the console with its progress bar."""

import json
import math
import os
import sys
import time
from pathlib import Path

_SILENCE = 60.0  # seconds without a word before a run that has no progress bar says where it is


def _storable(value):
    """A number as JSON knows it: numpy and jax scalars as Python's, and what is not finite as the strings "nan", "inf", "-inf"."""
    value = value.item() if hasattr(value, "item") else value
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def rows(path: Path) -> list[dict]:
    """The rows of a metrics file; a torn last line is left out. Raises ValueError naming a line that is no row."""
    found = []
    lines = path.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines[:-1], 1):  # what follows the last newline was never finished
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            raise ValueError(f"{path}: line {number} is not JSON: {line[:80]!r}") from None
    return found


class MetricsFile:
    """metrics.jsonl: rows ``{"step", "epoch", "split", figures...}``; floats are written so that they read back bit for bit.

    What is not finite is written as "nan", "inf" or "-inf", for JSON has no such numbers. Opening the file cuts the rows after ``step``,
    the step a run resumes at, and a torn last line: none is ever there twice.
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
    """TensorBoard events of every row, as ``split/figure``; without tensorboardX one printed line and nothing else.

    Events after ``step`` that an interrupted run left in the folder are declared void.
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


class Console:
    """A progress bar with loss, accuracy, images/s and ETA on a terminal; where there is none, plain lines, one a minute."""

    def __init__(self, steps: int, epochs: int, start: int = 0):
        self._progress = self._task = None
        self._steps, self._epochs, self._told = steps, epochs, time.monotonic()
        if not sys.stdout.isatty():
            return
        from rich import console, progress  # flax needs it too: it is always there

        columns = (
            progress.TextColumn("epoch {task.fields[epoch]}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[figures]}"),
            progress.TextColumn("ETA"),
            progress.TimeRemainingColumn(),
        )
        self._progress = progress.Progress(*columns, console=console.Console(highlight=False, soft_wrap=True))
        self._task = self._progress.add_task("training", total=steps, completed=start, epoch=f"1/{epochs}", figures="compiling")
        self._progress.start()

    def update(self, step: int, figures: dict) -> None:
        """Move the bar to ``step`` and show its loss, accuracy and images/s."""
        quiet = self._progress is None
        if quiet and time.monotonic() - self._told < _SILENCE:
            return
        shown = [f"loss {float(figures['loss']):.4f}"] if "loss" in figures else []
        shown += [f"top-1 {float(figures['top1']):.2%}"] if "top1" in figures else []
        shown += [f"{float(figures['images_per_second']):,.0f} images/s"] if "images_per_second" in figures else []
        epoch = min(self._epochs, 1 + (step - 1) * self._epochs // max(self._steps, 1))
        if quiet:
            self._told = time.monotonic()
            return self.line("  ".join([f"step {step}/{self._steps} (epoch {epoch})", *shown]))
        return self._progress.update(self._task, completed=step, epoch=f"{epoch}/{self._epochs}", figures="  ".join(shown))

    def line(self, text: str) -> None:
        """Print a line, above the bar if there is one."""
        if self._progress is None:
            print(text, flush=True)
        else:
            self._progress.console.print(text, markup=False)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._progress is not None:
            self._progress.stop()


def epoch_line(split: str, epoch: int, loss: float, top1: float | None = None) -> str:
    """``Train epoch 1: loss: 2.1790 ; top-1 accuracy: 34.73%``, the lecture's form; fractions in, per cent out."""
    accuracy = "" if top1 is None else f" ; top-1 accuracy: {top1:.2%}"
    return f"{split} epoch {epoch}: loss: {loss:.4f}{accuracy}"
