"""An experiment that the resume tests start, kill and start again: everything a state can hold, in seconds."""

import functools

import jaxvision as jv
from tests.train.linear import Linear


class Torn:
    """A source read one by one whose first examples are broken."""

    def __init__(self, source, broken: int):
        self.source, self.broken, self.labels, self.classes = source, broken, source.labels, source.classes

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int) -> dict:
        if i < self.broken:
            raise jv.data.BrokenImage(f"{i}.png", "empty")
        return self.source[i]


def config(*, epochs: int = 12, linear: bool = False, driver_seed: int = 0, broken: int = 0) -> jv.train.Experiment:
    """LeNet-5 on digits with validation, weight average, augmentation, mixup and momentum.

    Args:
        epochs: Passes over the training images.
        linear: A linear classifier of small images in place of LeNet-5 and digits.
        driver_seed: The run's seed.
        broken: Training images that cannot be read.
    """
    small = functools.partial(jv.data.synthetic, image_shape=(8, 8, 1), num_classes=10)
    whole, test = (small(1150), small(64, seed=1)) if linear else (jv.data.digits("train"), jv.data.digits("test"))
    train, validation = jv.data.split(whole, 0.2)
    model = Linear(10) if linear else jv.create_model("lenet5")
    steps = jv.train.total_steps(train, epochs=epochs, batch_size=64)
    crop = jv.augment.each(jv.augment.random_crop(8 if linear else 32, padding=2))
    return jv.train.Experiment(
        model,
        jv.objectives.supervised(model),
        jv.train.momentum(jv.train.warmup_cosine(0.05, steps, warmup=10), weight_decay=1e-4),
        Torn(train, broken) if broken else train,
        validation=validation,
        test=test,
        epochs=epochs,
        batch_size=64,
        augment=jv.augment.chain(crop, jv.augment.mixup(num_classes=10)),
        ema=0.99,
        seed=driver_seed,
    )


if __name__ == "__main__":
    jv.train.main(config, options=jv.train.RunOptions(log_every=1))
