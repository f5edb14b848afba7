"""Accuracy of ``experiments.resnet18_cifar10`` compared with the same recipe in PyTorch, on the same images in the same steps.

    python -m experiments.resnet18_cifar10 --data NPZ --epochs 3 --workdir RUN
    python -m benchmarks.cifar10_accuracy --run RUN

The PyTorch side (torchvision's ResNet-18 with the CIFAR stem, torch.optim.SGD) starts from the initial weights of the run and reads
the same batches, with the same crops and flips. Everything after the pixels is PyTorch.
"""

import csv
import platform
from pathlib import Path

import jax
import numpy as np
import torch

import jaxvision as jv
from benchmarks import command, reference
from jaxvision.train.logging import rows_of
from jaxvision.train.run_folder import read_json
from tests.oracles import torch_layouts


def network_like(params: dict) -> torch.nn.Module:
    """torchvision's ResNet-18 with the CIFAR stem and the given weights."""
    network = reference.torchvision().models.resnet18(num_classes=10)
    network.conv1 = torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    network.maxpool = torch.nn.Identity()
    # Convert from ours to PyTorch: number all PyTorch elements, convert the numbers with from_torch, and invert. Eleven million
    # numbers pass through float32, which is exact up to 2^24.
    tensors = {name: tensor for name, tensor in network.state_dict().items() if tensor.ndim}
    offset, tags = 0, {}
    for name, tensor in tensors.items():
        tags[name] = torch.arange(offset, offset + tensor.numel(), dtype=torch.float64).reshape(tensor.shape)
        offset += tensor.numel()
    flat = np.zeros(offset)
    for tag, value in zip(jax.tree.leaves(torch_layouts.resnet(tags, (2, 2, 2, 2), 2)["params"]), jax.tree.leaves(params), strict=True):
        flat[tag.astype(np.int64)] = value
    for name, tensor in tensors.items():
        if "running" not in name:
            tensor.copy_(torch.tensor(flat[tags[name].long().numpy()], dtype=torch.float32))
    return network


def evaluate(network: torch.nn.Module, source, recipe) -> float:
    """Top-1 accuracy over a source."""
    network.eval()
    prepare = jax.jit(lambda image: jv.evaluate.prepared(image, recipe))
    right = 0
    with torch.no_grad():
        for batch in jv.data.padded_batches(source, 500):
            image = np.array(prepare(batch["image"]))
            found = network(torch.tensor(image).permute(0, 3, 1, 2)).argmax(1).numpy()
            right += int(((found == batch["label"]) & batch["valid"]).sum())
    return right / len(source)


def train(experiment: jv.train.Experiment, learning_rate: float, weight_decay: float, warmup: int) -> list[float]:
    """Top-1 after each epoch of the PyTorch side."""
    key = jax.random.key(experiment.seed)
    network = network_like(experiment.initializer().state().params["model"]).to(memory_format=torch.channels_last)
    kernels = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim == 1]
    groups = [{"params": kernels, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=learning_rate, momentum=0.9, nesterov=True)
    rate = jv.train.warmup_cosine(learning_rate, experiment.steps, warmup=warmup)
    augment = jax.jit(lambda batch: experiment.augment(jv.core.fold_name(key, "augment"), batch)["image"])
    found, ends = [], experiment.epoch_ends()
    batches = jv.data.batches(experiment.train, experiment.batch_size, seed=experiment.seed, steps=experiment.steps)
    for step, batch in enumerate(batches, 1):
        network.train()
        image = torch.tensor(np.array(augment(batch))).permute(0, 3, 1, 2)
        for group in optimizer.param_groups:
            group["lr"] = float(rate(step - 1))
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(image), torch.tensor(batch["label"]).long())
        loss.backward()
        optimizer.step()
        if step % 20 == 0:
            print(f"step {step}/{experiment.steps} loss {loss.item():.4f}", flush=True)
        if step in ends:
            found.append(evaluate(network, experiment.test, experiment.recipe))
            print(f"PyTorch epoch {ends[step]}: top-1 {found[-1]:.2%}", flush=True)
    return found


def main() -> None:
    """Train the PyTorch side of a finished run and write the table."""
    parser = command.parser(__doc__)
    parser.add_argument("--run", type=Path, required=True, help="a finished run of experiments.resnet18_cifar10")
    parser.add_argument("--threads", type=command.positive, default=2, help="PyTorch's threads")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    options = read_json(arguments.run / "config.json")["experiment"]["options"]
    from experiments.resnet18_cifar10 import config

    experiment = config(**(options | {"data": Path(options["data"])}))
    warmup = round(options["warmup_epochs"] * experiment.steps / experiment.epochs)
    theirs = train(experiment, options["learning_rate"], options["weight_decay"], warmup)
    ours = [row["top1"] for row in rows_of(arguments.run) if row["split"] == "test"]
    versions = f"cpu-jax{jax.__version__}-torch{torch.__version__.partition('+')[0]}"
    path = Path(__file__).parent / "results" / f"cifar10_accuracy-{versions}.csv"
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "steps", "images", "seed", "top1_ours", "top1_pytorch", "difference_points", "machine"])
        for (step, epoch), our, their in zip(experiment.epoch_ends().items(), ours, theirs, strict=True):
            difference = f"{100 * (our - their):+.2f}"
            writer.writerow([epoch, step, len(experiment.train), experiment.seed, our, their, difference, platform.machine()])
            print(f"epoch {epoch}: ours {our:.2%}, PyTorch {their:.2%}, difference {difference} points")
    print(f"written to {path}")


if __name__ == "__main__":
    command.run(main)
