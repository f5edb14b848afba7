"""LeNet-5 on MNIST, a classic recipe: plain SGD at 0.01, batches of 100, tanh, ten epochs, images resized to 32 x 32.

    python -m experiments.lenet_mnist --data FOLDER [--epochs 10]

FOLDER holds the four idx files of MNIST (or Fashion-MNIST, KMNIST), gzip-compressed or not.
Expected: eval top-1 96.9, 96.5, 96.4 % (seeds 0, 1, 2) after 10 epochs; 75 to 95 s on 2 CPU cores, jax 0.10.2 (docs/results.md).
"""

from pathlib import Path

import jaxvision as jv
from experiments import required

OPTIONS = jv.train.RunOptions(
    title="LeNet-5 on MNIST",
    hint="python -m experiments.lenet_mnist --data FOLDER --learning-rate 0.1 --workdir runs/faster",
    log_every=50,
)


def config(
    *,
    data: Path | None = None,
    epochs: int = 10,
    batch_size: int = 100,
    learning_rate: float = 0.01,
    seed: int = 0,
    smoke: bool = False,
) -> jv.train.Experiment:
    """Train LeNet-5 on MNIST.

    Args:
        data: Folder with the idx files.
        epochs: Passes over the training images.
        batch_size: Images per update.
        learning_rate: Of plain SGD, constant.
        seed: Decides initialization and data order.
        smoke: A few steps on synthetic images, to see that everything works.
    """
    if smoke:
        train, test = (jv.data.synthetic(count, image_shape=(28, 28, 1), seed=seed) for count, seed in ((400, 0), (200, 1)))
        epochs = 2
    else:
        train, test = jv.data.idx(required(data), "train"), jv.data.idx(required(data), "test")
    model = jv.create_model("lenet5", num_classes=10)
    resize = jv.augment.resize((32, 32))
    return jv.train.Experiment(
        model,
        jv.objectives.supervised(model),
        jv.train.sgd(learning_rate),
        train,
        test=test,
        epochs=epochs,
        batch_size=batch_size,
        augment=jv.augment.each(resize),
        recipe=resize,
        seed=seed,
    )


if __name__ == "__main__":
    jv.train.main(config, options=OPTIONS)
