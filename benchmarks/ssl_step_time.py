"""One step of SimCLR, MAE or DINO, including the views, compared with a plain PyTorch implementation of the same step.

    python -m benchmarks.ssl_step_time [--methods simclr mae dino] [--turns 10]

SimCLR: ResNet-18 with the stem for 32 pixels. MAE: ViT-S/16 at 224 with the decoder of the paper. DINO: ViT-S/16 at 224, two large views
and some crops of 96 pixels. A step starts with uint8 images in memory. Ours makes the views in its compiled program; PyTorch uses the
transforms of torchvision, sample by sample, as its data loaders do (in this process; workers of a loader would share the same cores).
Before anything is timed, both sides get the same weights and views, and must have the same loss and the same decrease of the loss after one
step of plain gradient descent. Both use AdamW without weight decay.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxvision as jv
from benchmarks import command, reference, side_by_side
from benchmarks.side_by_side import Side
from jaxvision.core import fold_name
from jaxvision.objectives._patches import draw_kept

METHODS = ("simclr", "mae", "dino")
_BOUND, _RATE, _DESCENT = 2e-3, 1e-4, 0.01
_BATCH = {"simclr": 64, "mae": 8, "dino": 2}


class Setting(NamedTuple):
    """Sizes of a method; number of crops and prototypes of DINO."""

    batch: int
    size: int
    crops: int = 8
    prototypes: int = 65_536


def setting(method: str, batch: int | None = None) -> Setting:
    """The sizes of the papers, with a batch size for a CPU."""
    return Setting(batch or _BATCH[method], 32 if method == "simclr" else 224)


def _ours(method: str, given: Setting):
    """(encoder, objective, augmentation)."""
    if method == "simclr":
        encoder = jv.create_model("resnet18", num_classes=0, stem="cifar")
        return encoder, jv.objectives.simclr(encoder), jv.augment.simclr(given.size, strength=0.5, blur=False)
    encoder = jv.create_model("vit_small_patch16_224", image_size=given.size, num_classes=0)
    if method == "mae":
        return encoder, jv.objectives.mae(encoder), jv.augment.each(jv.augment.mae(given.size))
    return encoder, jv.objectives.dino(encoder, prototypes=given.prototypes), jv.augment.dino(given.size, crops=given.crops)


def _theirs(method: str, given: Setting):
    reference.torchvision()
    import torch

    from benchmarks import plain_methods

    torch.manual_seed(0)
    make = {
        "simclr": plain_methods.SimCLR,
        "mae": lambda: plain_methods.MAE(given.size),
        "dino": lambda: plain_methods.DINO(given.size, given.prototypes),
    }
    return make[method]().train(), plain_methods.transforms(method, given.size, given.crops)


def _views_of(batch: dict) -> list[np.ndarray]:
    """Our batch as a list of PyTorch views [B, C, H, W]."""
    if "views" not in batch:
        return [np.moveaxis(np.asarray(batch["image"]), -1, 1)]
    every = [np.asarray(batch[name]) for name in ("views", "crops") if name in batch]
    return [np.moveaxis(group[:, index], -1, 1) for group in every for index in range(group.shape[1])]


def _first_losses(method: str, objective, params: dict, carry, batch: dict, network) -> tuple[dict, dict]:
    """The loss and its decrease after a step of gradient descent, on both sides with the same views."""
    import torch

    key = jax.random.key(0)

    @jax.jit
    def value_and_grad(params, carry, batch):
        return jax.value_and_grad(lambda params: objective.loss(params, carry, batch, key=key, step=jnp.int32(0))[0])(params)

    loss, gradient = value_and_grad(params, carry, batch)
    lower = value_and_grad(jax.tree.map(lambda leaf, slope: leaf - _DESCENT * slope, params, gradient), carry, batch)[0]
    where = reference.device()
    views, options = [torch.from_numpy(np.array(view)).to(where) for view in _views_of(batch)], {}
    if method == "mae":
        count = (views[0].shape[-1] // 16) ** 2
        kept, _ = draw_kept(fold_name(key, "mask"), len(views[0]), count, count // 4)
        options["keep"] = torch.from_numpy(np.array(kept, np.int64)).to(where)
    before = network.loss(views, **options)
    network.zero_grad(set_to_none=True)
    before.backward()
    kept = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.grad is not None:
                parameter -= _DESCENT * parameter.grad
        after = network.loss(views, **options)
    network.load_state_dict(kept)
    return {"loss": np.float64(loss), "fall": np.float64(loss - lower)}, {"loss": before.item(), "fall": (before - after).item()}


def compare(method: str, given: Setting, *, turns: int) -> tuple[dict[str, side_by_side.Pace], float]:
    """(paces of both sides, largest difference of the loss and its decrease). Raises side_by_side.Disagreement if they differ."""
    encoder, objective, augment = _ours(method, given)
    network, transforms = _theirs(method, given)
    import torch

    weights = jv.weights.method_from_torch(encoder, {name: tensor.numpy().copy() for name, tensor in network.state_dict().items()})
    where = reference.device()
    network.to(where)
    key, optimizer = jax.random.key(0), jv.train.adamw(_RATE, weight_decay=0.0)
    raw = {"image": np.random.default_rng(0).integers(0, 256, (given.batch, given.size, given.size, 3)).astype(np.uint8)}
    raw = jax.device_put(raw | {"index": np.arange(given.batch, dtype=np.int32)})
    state = jv.train.init(objective, optimizer, raw, key=key, augment=augment, given=weights)
    fixed = jax.jit(augment)(key, raw)
    found, expected = _first_losses(method, objective, state.params, state.carry, fixed, network)
    worst = max(
        side_by_side.check_equal({name: found[name]}, {name: expected[name]}, bound=_BOUND, what=f"{method}, {name}") for name in found
    )
    pure = jv.train.make_step(objective, optimizer, augment=augment)
    step = jv.train.compile_step(pure, devices=jax.devices()[:1])
    pixels = [torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in np.asarray(raw["image"])]
    adam = torch.optim.AdamW([one for one in network.parameters() if one.requires_grad], _RATE, weight_decay=0.0)

    def ours() -> None:
        nonlocal state
        state, _ = jax.block_until_ready(step(state, raw, key))

    def theirs() -> None:
        views = [torch.stack([view(image) for image in pixels]).to(where) for view in transforms]
        adam.zero_grad(set_to_none=True)
        network.loss(views).backward()
        adam.step()
        if method == "dino":
            network.after()
        reference.wait(where)

    memory = side_by_side.memory_of(jax.jit(pure, donate_argnums=0), state, raw, key)
    sides = {"jaxvision": Side(ours, dict, memory), "PyTorch": Side(theirs, dict, reference.memory_of(theirs, where))}
    return side_by_side.paces(sides, lambda: None, turns=turns), worst


def main() -> None:
    """Compare each method, print each result, and write the table."""
    jv.train.keep_memory()  # as all experiment commands do; it applies to PyTorch too
    parser = command.parser(__doc__)
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--batch", type=command.positive, help=f"images a step; by default {_BATCH}")
    parser.add_argument("--turns", type=command.positive, default=10)
    given = parser.parse_args()
    reference.torchvision()
    reference.in_full_float32()
    for method in given.methods:
        sizes = setting(method, given.batch)
        found, worst = compare(method, sizes, turns=given.turns)
        quotient = side_by_side.ratio(found["jaxvision"], found["PyTorch"])
        row = {"method": method, **sizes._asdict(), "ratio_over_PyTorch": str(quotient), "largest_difference": f"{worst:.1e}"}
        row |= {f"median_{side}_seconds": f"{pace.quartiles()[1]:.4f}" for side, pace in found.items()}
        row |= {f"peak_{side}_mib": f"{pace.mebibytes:.0f}" for side, pace in found.items()}
        path = side_by_side.write("ssl_step_time", [row], named_by=("method", *Setting._fields))
        print(f"{method}, batch {sizes.batch}, equal to {worst:.0e}: ratio ours/PyTorch {quotient}", flush=True)
    print(f"written to {path}")
    print(f"ratio ours/PyTorch {quotient}")


if __name__ == "__main__":
    command.run(main)
