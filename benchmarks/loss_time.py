"""NT-Xent and DINO compared with plain PyTorch implementations: time and memory of value and gradients by batch size.

    python -m benchmarks.loss_time [--losses nt_xent ...] [--turns 15]

Values and gradients of both sides are compared before anything is timed. Then the sides alternate in one process. The PyTorch side has the
formulas of the papers with the complete matrix of similarities or logits in memory. Memory is the growth of the process in one run; for our
programs also the memory that XLA reserves, from which follows the largest batch that fits in the memory of PyTorch's run.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxvision as jv
from benchmarks import command, functions, reference, side_by_side

_BOUND = 1e-4
_WIDTH, _BOTTLENECK, _PROTOTYPES = 128, 256, 65_536
_STUDENTS, _TEACHERS = 4, 2  # views
_MOST = 20  # exponent of the largest batch that is tried


class Loss(NamedTuple):
    """The ``shapes(batch)`` of the arrays, our function, PyTorch's function, the arguments to differentiate, and the batch sizes."""

    shapes: Callable
    ours: Callable
    theirs: Callable
    wanted: tuple[int, ...]
    batches: tuple[int, ...]


def _plain_nt_xent(z1, z2):
    from benchmarks import plain_methods

    return plain_methods.nt_xent(z1, z2)


def _plain_dino(student, teacher, student_prototypes, teacher_prototypes, center):
    from benchmarks import plain_methods

    return plain_methods.dino(student @ student_prototypes.T, teacher @ teacher_prototypes.T, center)


LOSSES = {
    "nt_xent": Loss(
        lambda batch: ((batch, _WIDTH),) * 2,
        jv.losses.nt_xent,
        _plain_nt_xent,
        (0, 1),
        (256, 1024, 4096),
    ),
    "dino_prototypes": Loss(
        lambda batch: (
            (_STUDENTS, batch, _BOTTLENECK),
            (_TEACHERS, batch, _BOTTLENECK),
            (_PROTOTYPES, _BOTTLENECK),
            (_PROTOTYPES, _BOTTLENECK),
            (_PROTOTYPES,),
        ),
        jv.losses.dino_prototypes,
        _plain_dino,
        (0, 2),
        (8, 64),
    ),
}


def arrays(loss: Loss, batch: int) -> list[np.ndarray]:
    """Rows of about unit length, so that logits are about cosines."""
    random = np.random.default_rng(0)
    return [random.standard_normal(shape, np.float32) / np.sqrt(shape[-1] if len(shape) > 1 else 1e4) for shape in loss.shapes(batch)]


def set_aside(loss: Loss, batch: int) -> float:
    """MiB of temporary memory of XLA's program for value and gradients. It is compiled and not executed."""
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in loss.shapes(batch)]
    compiled = jax.jit(jax.value_and_grad(loss.ours, loss.wanted)).lower(*shapes).compile()
    return compiled.memory_analysis().temp_size_in_bytes / 2**20


def largest_within(loss: Loss, mebibytes: float, *, start: int) -> int:
    """The largest batch (``start`` times a power of two) whose program stays within ``mib``."""
    batch = start
    while 2 * batch <= 2**_MOST and set_aside(loss, 2 * batch) <= mebibytes:
        batch *= 2
    return batch


def compare(loss: Loss, batch: int, *, turns: int) -> dict[str, side_by_side.Pace]:
    """The paces of ours and of PyTorch. Raises side_by_side.Disagreement if their results differ."""
    given, signal = arrays(loss, batch), np.ones((), np.float32)
    sides = {
        "ours": functions.ours(loss.ours, given, loss.wanted, signal),
        "PyTorch": functions.theirs(loss.theirs, given, loss.wanted, signal),
    }
    return side_by_side.paces_of_equals(sides, bound=_BOUND, what=f"batch of {batch}", turns=turns)


def main() -> None:
    """Compare each loss at each batch size, print each result, and write the table."""
    parser = command.parser(__doc__)
    parser.add_argument("--losses", nargs="+", default=list(LOSSES), choices=list(LOSSES))
    parser.add_argument("--turns", type=command.positive, default=15)
    given = parser.parse_args()
    reference.torchvision()
    reference.in_full_float32()
    for name in given.losses:
        loss = LOSSES[name]
        for batch in loss.batches:
            found = compare(loss, batch, turns=given.turns)
            quotient = side_by_side.ratio(found["ours"], found["PyTorch"])
            theirs = found["PyTorch"].mebibytes
            equal = largest_within(loss, theirs, start=batch)
            row = {"loss": name, "batch": batch, "ratio_over_PyTorch": str(quotient)}
            row |= {f"median_{side}_seconds": f"{pace.quartiles()[1]:.5f}" for side, pace in found.items()}
            row |= {"peak_PyTorch_mib": f"{theirs:.1f}", "peak_ours_mib": f"{found['ours'].mebibytes:.1f}"}
            row |= {"set_aside_ours_mib": f"{set_aside(loss, batch):.1f}", "largest_batch_in_their_memory": equal}
            path = side_by_side.write("loss_time", [row], named_by=("loss", "batch"))
            print(
                f"{name}, batch {batch}: ratio ours/PyTorch {quotient}; PyTorch {theirs:.0f} MiB, ours {row['set_aside_ours_mib']} MiB, "
                f"which {equal} rows ({equal // batch} times as many) would fill",
                flush=True,
            )
    print(f"written to {path}")
    print(f"ratio ours/PyTorch {quotient}")


if __name__ == "__main__":
    command.run(main)
