"""The options of a test's run, divided between the experiment and how it is executed."""

import dataclasses

import jaxvision as jv

RUN_OPTIONS = {field.name for field in dataclasses.fields(jv.train.RunOptions)}


def divided(options: dict) -> tuple[dict, jv.train.RunOptions]:
    """(fields of Experiment, RunOptions)."""
    of_run = {name: value for name, value in options.items() if name in RUN_OPTIONS}
    return {name: value for name, value in options.items() if name not in RUN_OPTIONS}, jv.train.RunOptions(**of_run)
