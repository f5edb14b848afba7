"""An AdamW update of all weights with gradient clipping, without and with a weight average: ours and PyTorch.

    python -m benchmarks.update_time [--models vit_small_patch16_224 ...] [--turns 20]

Ours is the part of a training step after the gradients: their norm, the check that they are finite, AdamW and the average. It is compared
with the same update by an optax chain, and with PyTorch's ``AdamW`` after ``clip_grad_norm_``, by default and with ``fused=True``, with
``torch._foreach_lerp_`` for the average. All have the same weights and gradients; their updates are compared before anything is timed.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxvision as jv
from benchmarks import command, reference, side_by_side
from benchmarks.side_by_side import Side
from jaxvision.train import fused

MODELS = ("resnet50", "vit_small_patch16_224")
_RATE, _DECAY, _CLIP, _KEPT, _BOUND = 1e-3, 0.05, 1.0, 0.99, 1e-4


def ours(optimizer, weights: dict, grads: dict, *, average: bool) -> Side:
    """Our side; ``optimizer`` determines whether the kernel is used."""

    def update(state: fused.Moved, grads: dict) -> fused.Moved:
        finite = jnp.isfinite(optax.tree.norm(grads))
        return fused.moved(optimizer, grads, state.opt_state, state.params, finite=finite, average=state.average, decay=_KEPT)

    program = jax.jit(update, donate_argnums=0)
    state = fused.Moved(weights, optimizer.init(weights), weights if average else {})
    state, grads = jax.tree.map(jnp.array, (state, grads))

    def run() -> None:
        nonlocal state
        state = jax.block_until_ready(program(state, grads))

    def result() -> dict[str, np.ndarray]:
        moved = jax.tree.leaves((state.params, state.average))
        return {str(index): np.asarray(leaf) - first for index, (leaf, first) in enumerate(zip(moved, 2 * jax.tree.leaves(weights)))}

    return Side(run, result)


def theirs(weights: dict, grads: dict, *, average: bool, **options) -> Side:
    """The PyTorch side; ``options`` are those of its AdamW."""
    import torch

    where = reference.device()
    leaves = jax.tree.leaves(weights)
    params = [torch.nn.Parameter(torch.from_numpy(leaf.copy()).to(where)) for leaf in leaves]
    kept = [param.detach().clone() for param in params] if average else []
    for param, gradient in zip(params, jax.tree.leaves(grads), strict=True):
        param.grad = torch.from_numpy(gradient.copy()).to(where)  # clipped in place; from the second update on by a factor of 1
    optimizer = torch.optim.AdamW(params, _RATE, weight_decay=_DECAY, **options)

    def run() -> None:
        torch.nn.utils.clip_grad_norm_(params, _CLIP)
        optimizer.step()
        if average:
            torch._foreach_lerp_(kept, [param.detach() for param in params], 1 - _KEPT)
        reference.wait(where)

    def result() -> dict[str, np.ndarray]:
        moved = [tensor.detach().cpu().numpy() for tensor in (*params, *kept)]
        return {str(index): tensor - first for index, (tensor, first) in enumerate(zip(moved, 2 * leaves))}

    return Side(run, result)


def compare(name: str, *, average: bool, turns: int) -> dict[str, side_by_side.Pace]:
    """The paces of all sides for the weights of a network. Raises side_by_side.Disagreement if their updates differ."""
    random = np.random.default_rng(0)
    shapes = jax.eval_shape(jv.create_model(name).init, jax.random.key(0), np.zeros((1, 224, 224, 3), np.float32))["params"]
    drawn = lambda leaf: 0.02 * random.standard_normal(leaf.shape, np.float32)  # noqa: E731
    weights, grads = (jax.tree.map(drawn, shapes) for _ in range(2))
    optimizer = jv.train.adamw(_RATE, weight_decay=_DECAY, decay_mask=None, clip_norm=_CLIP)
    sides = {
        "ours": ours(optimizer, weights, grads, average=average),
        "chain": ours(optax.GradientTransformation(*optimizer), weights, grads, average=average),
        "PyTorch": theirs(weights, grads, average=average),
        "PyTorch fused": theirs(weights, grads, average=average, fused=True),
    }
    return side_by_side.paces_of_equals(sides, bound=_BOUND, what=name, turns=turns)


def main() -> None:
    """Compare the update of each network, print each result, and write the table."""
    jv.train.keep_memory()  # as all experiment commands do; it applies to PyTorch too
    parser = command.parser(__doc__)
    parser.add_argument("--models", nargs="+", default=MODELS, type=command.network, metavar="NAME", help="networks for 224 pixels")
    parser.add_argument("--turns", type=command.positive, default=20)
    given = parser.parse_args()
    reference.torchvision()
    reference.in_full_float32()
    for name in given.models:
        for average in (False, True):
            found = compare(name, average=average, turns=given.turns)
            over = {side: side_by_side.ratio(found["ours"], pace) for side, pace in found.items() if side != "ours"}
            row = {"model": name, "average": str(average)} | {f"ratio_over_{side}": str(quotient) for side, quotient in over.items()}
            row |= {f"median_{side}_seconds": f"{pace.quartiles()[1]:.6f}" for side, pace in found.items()}
            path = side_by_side.write("update_time", [row], named_by=("model", "average"))
            text = ", ".join(f"ratio ours/{side} {quotient}" for side, quotient in over.items())
            print(f"{name}, {'with' if average else 'without'} an average: {text}", flush=True)
    print(f"written to {path}")
    print(f"ratio ours/PyTorch {over['PyTorch']}")


if __name__ == "__main__":
    command.run(main)
