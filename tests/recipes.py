"""Which recipes there are, and which of them the fast tests run, and trace."""

from pathlib import Path

RECIPES = sorted(path.stem for path in (Path(__file__).parents[1] / "experiments").glob("[!_]*.py"))
RUN = ("lenet_digits",)  # by every test of the contract
TRACED = ("dino_vit_tiny_cifar10", "mae_vit_tiny_cifar10", "resnet18_cifar10", "simclr_resnet18_cifar10", "transformer_characters")
TRACED_FAST = ("simclr_resnet18_cifar10", "transformer_characters")
# They differ from a small recipe in data and sizes alone: the slow tests trace their steps and do not run them.
IMAGENET_FORMS = ("dino_vit_s16_imagenet", "mae_vit_b16_imagenet", "resnet50_imagenet", "simclr_resnet50_imagenet")
