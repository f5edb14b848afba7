"""The console of a run: how metrics are written for people, and the progress bar."""

import sys
import time
from collections.abc import Mapping

_SILENCE_SECONDS = 60.0  # after which a run without a progress bar prints where it is
_FRACTIONS = {"top1": "top-1 accuracy", "top5": "top-5 accuracy", "accuracy": "accuracy", "map": "mAP", "miou": "mIoU"}  # shown as per cent
_DIAGNOSTICS = ("gradient_norm", "learning_rate", "skipped", "updates")  # of a training step; neither the bar nor a line shows them
_IN_BAR, _IN_LINE = 3, 6  # at most so many metrics


def label_of(name: str) -> str:
    """How a metric is called: "seg/top1" is "seg/top-1 accuracy"."""
    prefix, slash, last = name.rpartition("/")
    return prefix + slash + _FRACTIONS.get(last, last)


def value_of(name: str, value: float) -> str:
    """A metric's value as text: known fractions as per cent, others with four decimals or digits."""
    value = float(value)
    if name.rpartition("/")[2] in _FRACTIONS:
        return f"{value:.2%}"
    return f"{value:.4f}" if value == 0 or 1e-2 <= abs(value) < 1e5 else f"{value:.4g}"


def _leading(metrics: Mapping[str, float], most: int) -> dict[str, float]:
    """At most so many metrics: the loss, then known fractions, then the others in their order; no diagnostics and no times."""
    shown = [
        name
        for name, value in metrics.items()
        if value is not None and name not in _DIAGNOSTICS and not name.endswith(("_seconds", "_per_second"))
    ]
    rank = {True: 0, False: 2}
    ordered = sorted(shown, key=lambda name: 1 if name.rpartition("/")[2] in _FRACTIONS else rank[name == "loss"])
    return {name: metrics[name] for name in ordered[:most]}


def epoch_line(split: str, epoch: int, metrics: Mapping[str, float]) -> str:
    """``Train epoch 1: loss: 2.1790 ; top-1 accuracy: 34.73%``; an empty line where there is no metric."""
    found = " ; ".join(f"{label_of(name)}: {value_of(name, value)}" for name, value in _leading(metrics, _IN_LINE).items())
    return f"{split} epoch {epoch}: {found}" if found else ""


class Console:
    """A progress bar with metrics, images/s and ETA on a terminal; elsewhere plain lines, one a minute."""

    def __init__(self, steps: int, epochs: int, start: int = 0):
        self._progress = self._task = None
        self._steps, self._epochs, self._last_line = steps, epochs, time.monotonic()
        if not sys.stdout.isatty():
            return
        from rich import console, progress  # flax depends on rich: it is always there

        columns = (
            progress.TextColumn("epoch {task.fields[epoch]}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[metrics]}"),
            progress.TextColumn("ETA"),
            progress.TimeRemainingColumn(),
        )
        self._progress = progress.Progress(*columns, console=console.Console(highlight=False, soft_wrap=True))
        self._task = self._progress.add_task("training", total=steps, completed=start, epoch=f"1/{epochs}", metrics="compiling")
        self._progress.start()

    def update(self, step: int, metrics: Mapping[str, float]) -> None:
        """Move the bar to ``step`` and show its first metrics and ``images_per_second``."""
        if self._progress is None and time.monotonic() - self._last_line < _SILENCE_SECONDS:
            return
        shown = [f"{label_of(name)} {value_of(name, value)}" for name, value in _leading(metrics, _IN_BAR).items()]
        if "images_per_second" in metrics:
            shown.append(f"{float(metrics['images_per_second']):,.0f} images/s")
        epoch = min(self._epochs, 1 + (step - 1) * self._epochs // max(self._steps, 1))
        if self._progress is None:
            self._last_line = time.monotonic()
            self.line("  ".join([f"step {step}/{self._steps} (epoch {epoch})", *shown]))
        else:
            self._progress.update(self._task, completed=step, epoch=f"{epoch}/{self._epochs}", metrics="  ".join(shown))

    def line(self, text: str) -> None:
        """Print a line, above the bar if there is one."""
        if self._progress is None:
            print(text, flush=True)
        else:
            self._progress.console.print(text, markup=False)

    def close(self) -> None:
        """Stop the bar and leave it as it stands."""
        if self._progress is not None:
            self._progress.stop()
