"""Which recipes there are, and which of them differ from another in data and sizes alone."""

from pathlib import Path

RECIPES = sorted(path.stem for path in (Path(__file__).parents[1] / "experiments").glob("[!_]*.py"))
# Their steps are traced in the default tests and run, like their commands, in the long form; each follows a small recipe that is run whole.
TWINS = ("dino_vit_s16_imagenet", "mae_vit_b16_imagenet", "resnet50_imagenet", "simclr_resnet50_imagenet")
