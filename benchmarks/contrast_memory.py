"""The temporary memory and the time of the chunked NT-Xent: memory grows linearly with the batch, not with its square.

    python -m benchmarks.contrast_memory [--repeats 30]

Memory: the temporary memory that XLA reserves for value and gradient of N pairs of 128 features in float32, known from compilation. Time:
N = 1,024, compared with the same loss with the complete 2N x 2N matrix in memory; both alternate.
"""

import os
import time

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import command
from jaxvision.kernels import plain_log_sum_exp_of_others, unit_rows
from jaxvision.losses import nt_xent

FEATURES, PAIRS = 128, tuple(2**power for power in range(10, 17))  # 1,024 ... 65,536
STEEPEST, SLOWEST = 1.1, 1.5  # bounds of the exponent and of the ratio of times


def dense(z1, z2, *, temperature: float = 0.5):
    """``nt_xent`` for one device with the complete similarity matrix in memory."""
    unit = unit_rows(jnp.stack([z1, z2], axis=1))
    views = unit.reshape(-1, unit.shape[-1])  # [2N, D]
    everyone = plain_log_sum_exp_of_others(views / temperature, views, jnp.arange(len(views)))
    return jnp.mean(everyone) - jnp.mean(jnp.sum(unit[:, 0] * unit[:, 1], axis=-1)) / temperature


def temporary_bytes(loss, pairs: int) -> int:
    """Temporary memory of the compiled value and gradient; nothing is executed."""
    shape = jax.ShapeDtypeStruct((pairs, FEATURES), jnp.float32)
    return jax.jit(jax.value_and_grad(loss, (0, 1))).lower(shape, shape).compile().memory_analysis().temp_size_in_bytes


def exponent(sizes, amounts) -> float:
    """The slope of log(amount) over log(size), by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(amounts), 1)[0])


def seconds(pairs: int, repeats: int) -> dict[str, np.ndarray]:
    """Times of value and gradient of both forms, which alternate."""
    rng = np.random.default_rng(0)
    views = [jnp.asarray(rng.standard_normal((pairs, FEATURES)), jnp.float32) for _ in range(2)]
    programs = {name: jax.jit(jax.value_and_grad(loss, (0, 1))) for name, loss in (("chunked", nt_xent), ("dense", dense))}
    found = {name: [] for name in programs}
    for turn in range(repeats + 3):
        for name, program in programs.items():
            start = time.perf_counter()
            jax.block_until_ready(program(*views))
            if turn >= 3:  # the first rounds compile and warm up
                found[name].append(time.perf_counter() - start)
    return {name: np.array(times) for name, times in found.items()}


def main() -> None:
    """Print both tables and check their bounds."""
    parser = command.parser(__doc__)
    parser.add_argument("--repeats", type=command.positive, default=30)
    arguments = parser.parse_args()
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}, {os.cpu_count()} cores, D = {FEATURES}, float32, value and gradient")
    amounts = [temporary_bytes(nt_xent, pairs) for pairs in PAIRS]
    for pairs, amount in zip(PAIRS, amounts, strict=True):
        whole = f"{temporary_bytes(dense, pairs) / 2**20:10.1f} MiB" if pairs <= 8192 else ""
        print(f"N = {pairs:6,}: {amount / 2**20:8.1f} MiB   dense {whole}")
    steep = exponent(PAIRS, amounts)
    print(f"exponent of memory over N: {steep:.3f} (bound {STEEPEST})")
    times = seconds(1024, arguments.repeats)
    for name, taken in times.items():
        low, middle, high = 1e3 * np.quantile(taken, (0.1, 0.5, 0.9))
        print(f"N = 1,024 {name:8}: median {middle:.1f} ms, 10 % to 90 % {low:.1f} to {high:.1f} ms, n = {len(taken)}")
    ratios = times["chunked"] / times["dense"]
    low, ratio, high = np.quantile(ratios, (0.1, 0.5, 0.9))
    print(f"chunked over dense: median of the turns {ratio:.2f}, 10 % to 90 % {low:.2f} to {high:.2f} (bound {SLOWEST})")
    if steep >= STEEPEST or ratio > SLOWEST:
        raise SystemExit("over the bound")


if __name__ == "__main__":
    command.run(main)
