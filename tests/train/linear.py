"""The smallest classifier there is, for runs of a second, and a few of its steps in one or two processes.

python -m tests.train.linear --out PREFIX --coordinator HOST:PORT --process 0|1
"""

import argparse

import jax
import numpy as np
from flax import linen as nn

import jaxvision as jv


class Linear(nn.Module):
    """One dense layer on the pixels."""

    num_classes: int = 3

    @nn.compact
    def __call__(self, image, *, train=False):
        return nn.Dense(self.num_classes, name="head")(image.reshape(len(image), -1))


def trained(steps: int = 3, batch_size: int = 16) -> np.ndarray:
    """The weights of the head after a few steps on all devices of all processes."""
    source, model = jv.data.synthetic(48, image_shape=(8, 8, 1), num_classes=3), Linear()
    objective, optimizer, key = jv.objectives.supervised(model), jv.train.momentum(0.1), jax.random.key(0)
    batches = jv.data.batches(source, batch_size, steps=steps, rows=jv.train.process_rows(batch_size), threads=0)
    state = jv.train.place(jv.train.init(objective, optimizer, next(jv.data.batches(source, 2, steps=1, threads=0)), key=key))
    step = jv.train.compile_step(jv.train.make_step(objective, optimizer))
    for batch in batches:
        state, _ = step(state, batch, key)
    return np.asarray(state.params["model"]["head"]["kernel"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name, kind in {"out": str, "coordinator": str, "process": int}.items():
        parser.add_argument(f"--{name}", type=kind, required=True)
    arguments = parser.parse_args()
    jv.train.initialize_distributed(arguments.coordinator, 2, arguments.process)
    assert jax.process_count() == 2
    np.save(f"{arguments.out}-{arguments.process}.npy", trained())
