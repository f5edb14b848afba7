"""The log: rows that read back bit for bit and are cut on resuming, TensorBoard events, console lines."""

import io
import itertools
import json
import math
import os
import struct
import sys
import time

import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.train import console, logging


def row(step: int, **metrics) -> dict:
    return {"step": step, "epoch": 1, "split": "train", **metrics}


def write(path, *rows, step: int = 0) -> None:
    file = logging.MetricsFile(path, step=step)
    for one in rows:
        file.write(one)
    file.sync()
    file.close()


def strict(line: str) -> dict:
    """Strict JSON: Python's own reader would accept NaN."""
    return json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_rows_read_back_bit_for_bit_in_order(tmp_path):
    metrics = {"loss": np.float32(0.1), "top1": jnp.float32(1) / 3, "tiny": 5e-324, "third": 1 / 3, "count": np.int32(7), "none": None}
    write(tmp_path / "metrics.jsonl", row(1, **metrics), row(2, loss=0.5))
    first, second = logging.rows(tmp_path / "metrics.jsonl")
    assert list(first) == ["step", "epoch", "split", *metrics]
    assert np.float32(first["loss"]) == np.float32(0.1) and np.float32(first["top1"]) == np.float32(1) / np.float32(3)
    assert (first["tiny"], first["third"], first["none"]) == (5e-324, 1 / 3, None)
    assert first["count"] == 7 and type(first["count"]) is int and second == row(2, loss=0.5)


def test_numbers_that_are_not_finite_are_valid_json(tmp_path):
    write(tmp_path / "metrics.jsonl", row(1, a=math.nan, b=np.float32(np.inf), c=jnp.float32(-jnp.inf)))
    found = strict((tmp_path / "metrics.jsonl").read_text())
    assert [found[name] for name in "abc"] == ["nan", "inf", "-inf"] and math.isnan(float(found["a"]))


def test_opening_cuts_what_follows_the_restored_step(tmp_path):
    path = tmp_path / "metrics.jsonl"
    rows = [row(step, loss=1 / step) for step in range(1, 8)]
    write(path, *rows[:3], {**rows[2], "split": "validation"}, *rows[3:])
    write(path, row(4, loss=9.0), step=3)
    assert logging.rows(path) == [*rows[:3], {**rows[2], "split": "validation"}, row(4, loss=9.0)]
    write(path)
    assert path.read_text() == ""  # a run that starts at step 0 starts with an empty file


@pytest.mark.parametrize("torn", ['{"step": 3, "lo', '{"step": 3}', "{", "\0\0\0"])
def test_an_unfinished_last_line_is_cut(tmp_path, torn):
    path = tmp_path / "metrics.jsonl"
    write(path, row(1), row(2))
    with path.open("a") as file:
        file.write(torn)
    assert logging.rows(path) == [row(1), row(2)]
    write(path, row(3, loss=1.0), step=2)
    assert logging.rows(path) == [row(1), row(2), row(3, loss=1.0)]


def test_a_line_that_is_not_json_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\nnonsense\n{"step": 3}\n')
    with pytest.raises(ValueError, match="metrics.jsonl: line 2 "):
        logging.MetricsFile(path, step=1)


def test_a_cut_that_is_interrupted_loses_nothing(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    write(path, row(1), row(2))
    before = path.read_bytes()
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        logging.MetricsFile(path, step=1)
    assert path.read_bytes() == before


def test_a_row_is_visible_before_the_file_is_closed(tmp_path):
    file = logging.MetricsFile(tmp_path / "metrics.jsonl")
    file.write(row(1))
    assert logging.rows(tmp_path / "metrics.jsonl") == [row(1)]
    file.close()


def events(folder) -> list:
    """The TensorBoard events of a folder, from the TFRecord format: length, checksum, content, checksum."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    found = []
    for path in sorted(folder.glob("events.*")):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            found.append(event_pb2.Event.FromString(content[12 : 12 + length]))
            content = content[16 + length :]
    return found


def test_tensorboard_has_every_metric_and_drops_what_a_killed_run_left(tmp_path):
    pytest.importorskip("tensorboardX")
    writer = logging.TensorBoard(tmp_path, step=10)
    writer.write(row(11, loss=0.5, top1=jnp.float32(0.25), gradient_norm=math.nan, learning_rate=None))
    writer.write({"step": 11, "epoch": 1, "split": "validation", "loss": 2})
    writer.close()
    found = events(tmp_path)
    scalars = {value.tag: (event.step, value.simple_value) for event in found for value in event.summary.value}
    assert math.isnan(scalars.pop("train/gradient_norm")[1])
    assert scalars == {"train/loss": (11, 0.5), "train/top1": (11, 0.25), "validation/loss": (11, 2.0)}
    assert [event.step for event in found if event.HasField("session_log")] == [11]  # TensorBoard drops older events from step 11 on


def test_without_tensorboardx_there_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    writer = logging.TensorBoard(tmp_path)
    writer.write(row(1, loss=0.5))
    writer.close()
    printed = capsys.readouterr().out
    assert "tensorboardX" in printed and printed.count("\n") == 1
    assert not list(tmp_path.iterdir())


class Terminal(io.StringIO):
    """A standard output that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def shown(monkeypatch, stream) -> str:
    """What a short run prints to a stream."""
    monkeypatch.setattr(sys, "stdout", stream)
    for name, value in {"TERM": "xterm", "COLUMNS": "140"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    bar = console.Console(20, 2, start=5)
    bar.update(15, {"loss": jnp.float32(0.12345), "top1": 0.9876, "images_per_second": 1234.5})
    bar.line("a [line] of 100 %")
    bar.close()
    return stream.getvalue()


def test_a_terminal_has_a_bar_and_lines_above_it(monkeypatch):
    pytest.importorskip("rich")
    text = shown(monkeypatch, Terminal())
    for part in ("loss 0.1235", "98.76%", "1,234 images/s", "ETA", "15/20", "2/2", "a [line] of 100 %"):
        assert part in text, part


def test_without_a_terminal_there_are_plain_lines_one_a_minute(monkeypatch):
    assert shown(monkeypatch, io.StringIO()) == "a [line] of 100 %\n"
    clock = itertools.count(0, 61)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    assert shown(monkeypatch, io.StringIO()).startswith("step 15/20 (epoch 2)  loss 0.1235  top-1 accuracy 98.76%")


def test_lines_of_an_epoch():
    assert console.epoch_line("Train", 1, {"top1": 0.34731, "loss": 2.17899}) == "Train epoch 1: loss: 2.1790 ; top-1 accuracy: 34.73%"
    assert console.epoch_line("Eval", 1, {"loss": 2.0012, "top1": np.float32(0.5764)}).endswith("top-1 accuracy: 57.64%")
    assert console.epoch_line("Train", 3, {"loss": 0.5, "training_seconds": 3.0}) == "Train epoch 3: loss: 0.5000"


def test_a_line_shows_any_metrics():
    line = console.epoch_line("Eval", 2, {"rmse": 0.25, "depth/miou": 0.5, "fid": 123456.7, "gradient_norm": 1.0})
    assert line == "Eval epoch 2: depth/mIoU: 50.00% ; rmse: 0.2500 ; fid: 1.235e+05"
    assert console.epoch_line("Train", 2, {"training_seconds": 3.0}) == ""
