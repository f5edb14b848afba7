"""Transfer to other data sets and robustness to changed images, measured for LeNet-5. Writes the tables of docs/evaluation.md.

    python -m benchmarks.transfer_table --digits FOLDER --clothes FOLDER

LeNet-5 is trained on 8,000 digits of MNIST for five epochs. Near data: the digits of the package. Far data: Fashion-MNIST. Few labels: 10 a
class; many: 140 a class, all that the smaller set has. `jv.evaluate.transfer` fits a linear layer on each stage; all test images, 3 draws.
"""

import platform
import tempfile
from pathlib import Path

import jax
import numpy as np

import jaxvision as jv
from benchmarks import command

DOCUMENT = Path(__file__).parents[1] / "docs" / "evaluation.md"
MARK = "<!-- measured -->"
AMOUNTS, SEEDS = {False: 10, True: 140}, (0, 1, 2)


def trained(digits: Path) -> tuple:
    """(classifier, its variables, its evaluation recipe, the test images)."""
    train, test = jv.data.subset(jv.data.idx(digits, "train"), range(8000)), jv.data.idx(digits, "test")
    model = jv.create_model("lenet5", num_classes=10)
    recipe = jv.augment.chain(jv.augment.resize((32, 32)), jv.augment.normalize(0.13, 0.31))
    run = {"epochs": 5, "batch_size": 100}
    rate = jv.train.warmup_cosine(3e-3, jv.train.total_steps(train, **run), warmup=20)
    augment = jv.augment.each(jv.augment.chain(jv.augment.random_crop(28, padding=2), recipe))
    optimizer = jv.train.adamw(rate, weight_decay=1e-2)
    objective = jv.objectives.supervised(model)
    experiment = jv.train.Experiment(model, objective, optimizer, train, test=test, augment=augment, recipe=recipe, **run)
    with tempfile.TemporaryDirectory() as folder:
        return model, jv.train.variables(jv.train.run(experiment, folder)), recipe, test


def quadrants(model, variables: dict, recipe, targets: dict) -> list[str]:
    """A row for each target and number of labels: the accuracy of each stage, the best one in bold, and the rule of thumb."""
    encoder = model.clone(num_classes=0)
    lines = []
    for near, (name, train, test) in targets.items():
        for much, amount in AMOUNTS.items():
            found: dict[str, list[float]] = {}
            for seed in SEEDS:
                options = {"recipe": recipe, "amounts": (amount,), "seed": seed}
                for row in jv.evaluate.transfer(encoder, variables, train, test, **options):
                    found.setdefault(row["stage"], []).append(100 * row["top1"])
            if not lines:
                lines += [f"| data | labels a class | {' | '.join(found)} | rule of thumb |", "|---" * (len(found) + 3) + "|"]
            best = max(found, key=lambda stage: np.mean(found[stage]))
            cells = [f"{np.mean(top1):.1f} ({min(top1):.1f} to {max(top1):.1f})" for top1 in found.values()]
            cells = [f"**{cell}**" if stage == best else cell for stage, cell in zip(found, cells, strict=True)]
            lines.append(f"| {name} | {amount} | {' | '.join(cells)} | {jv.evaluate.advice(near=near, much=much)} |")
    return lines


def robust(model, variables: dict, recipe, test) -> list[str]:
    """A row for each kind of change: amounts and accuracies."""
    rows = jv.evaluate.robustness(model, variables, test, recipe=recipe)
    kinds = dict.fromkeys(row["kind"] for row in rows)
    cells = {kind: ", ".join(f"{row['amount']:g}: {100 * row['top1']:.1f}" for row in rows if row["kind"] == kind) for kind in kinds}
    return ["| change | amount: test top-1, % |", "|---|---|", *(f"| {kind} | {text} |" for kind, text in cells.items())]


def main() -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--digits", type=Path, required=True, help="folder of MNIST's idx files")
    parser.add_argument("--clothes", type=Path, required=True, help="folder of Fashion-MNIST's idx files")
    given = parser.parse_args()
    model, variables, recipe, test = trained(given.digits)
    targets = {
        True: ("other digits (near)", jv.data.digits("train", size=28), jv.data.digits("test", size=28)),
        False: ("Fashion-MNIST (far)", jv.data.idx(given.clothes, "train"), jv.data.idx(given.clothes, "test")),
    }
    where = f"{platform.machine()}, CPU, jax {jax.__version__}; to repeat: `python -m benchmarks.transfer_table --digits F --clothes F`."
    tables = [*quadrants(model, variables, recipe, targets), "", *robust(model, variables, recipe, test)]
    head, _, _ = DOCUMENT.read_text().partition(MARK)
    DOCUMENT.write_text("\n".join([head + MARK, "", *tables, "", where]) + "\n")
    print("\n".join(tables))


if __name__ == "__main__":
    command.run(main)
