"""Class-balanced order, few labels of every class, no labels: counts, coverage, purity, and what is refused."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

import jaxvision as jv
from jaxvision import data
from jaxvision.data import class_balanced, few_labels, unlabelled
from jaxvision.data.source import Wrapped

COUNTS = [3, 50, 0, 11, 200]  # class 2 has a name and no example


def source(counts=COUNTS):
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts))
    images = np.arange(len(labels), dtype=np.float32)[:, None, None] / len(labels)  # an image is its own number
    return data.arrays(images, labels, classes=[f"class {label}" for label in range(len(counts))])


def number(example, length=sum(COUNTS)) -> int:
    return int(round(float(example["image"][0, 0, 0]) * length))


class Drawn(Wrapped):
    """A source that says how it was asked."""

    def draw(self, i, *, seed, epoch):
        return {**self.source[i], "asked": (i, seed, epoch)}


def test_every_class_is_drawn_equally_often_in_every_epoch():
    balanced = class_balanced(source())
    assert len(balanced) == 264
    for epoch in range(5):
        labels = [balanced.draw(i, seed=0, epoch=epoch)["label"] for i in range(len(balanced))]
        assert np.bincount(labels, minlength=5).tolist() == [66, 66, 0, 66, 66]
    for counts in ([1, 1, 5], [2, 2, 3], [10, 1, 1, 1]):  # lengths that the classes do not divide
        uneven = class_balanced(source(counts))
        for epoch in range(4):
            drawn = np.bincount([uneven.draw(i, seed=0, epoch=epoch)["label"] for i in range(len(uneven))], minlength=len(counts))
            assert drawn.max() - drawn.min() <= 1


def test_rare_classes_repeat_and_frequent_ones_go_through_all_their_examples():
    balanced, drawn = class_balanced(source()), []
    for epoch in range(25):
        drawn += [number(balanced.draw(i, seed=0, epoch=epoch)) for i in range(len(balanced))]
    times, labels = np.bincount(drawn, minlength=264), source().labels
    for label, count in enumerate(COUNTS):
        here = times[labels == label]
        assert here.sum() == (25 * 66 if count else 0)
        if count:
            assert here.max() - here.min() <= 1  # none again before all others
    rounds = np.array([place for place in drawn if labels[place] == 1][: 3 * 50]).reshape(3, 50)
    assert (rounds[0] != rounds[1]).any() and (rounds[1] != rounds[2]).any()  # in another order each time
    first = [number(balanced[i]) for i in range(len(balanced)) if balanced.labels[i] == 4]
    assert len(set(first)) == 66 and first != sorted(first)


def test_what_stands_where_is_pure_and_labels_are_those_of_epoch_0():
    one, same, other = class_balanced(source(), seed=3), class_balanced(source(), seed=3), class_balanced(source(), seed=4)
    backwards = [number(same.draw(i, seed=9, epoch=2)) for i in reversed(range(264))][::-1]
    forwards = [number(one.draw(i, seed=0, epoch=2)) for i in range(264)]
    assert forwards == backwards != [number(other.draw(i, seed=0, epoch=2)) for i in range(264)]
    assert [number(one[i]) for i in range(264)] == [number(one.draw(i, seed=5, epoch=0)) for i in range(264)]
    assert [example["label"] for example in one] == one.labels.tolist()
    assert number(one[-1]) == number(one[263])
    with pytest.raises(IndexError):
        one[264]
    data.check(one, num_classes=5, at_least_two_classes=True)


def test_batches_are_balanced_and_a_repeated_example_is_drawn_anew():
    epoch = list(data.batches(class_balanced(source()), 33, seed=1, steps=8))
    assert np.bincount(np.concatenate([batch["label"] for batch in epoch]), minlength=5).tolist() == [66, 66, 0, 66, 66]
    balanced = class_balanced(Drawn(source([2, 6])))
    asked = [balanced.draw(i, seed=7, epoch=epoch)["asked"] for epoch in range(6) for i in range(8)]
    assert len(set(asked)) == len(asked) and {seed for _, seed, _ in asked} == {7}
    rounds = sorted(epoch for i, _, epoch in asked if source([2, 6]).labels[i] == 0)
    assert rounds == sorted([*range(12)] * 2)


@pytest.mark.parametrize("seed", [0, 1])
def test_few_labels_are_a_share_of_every_class_and_nested(seed):
    whole = source([1000, 37, 400, 5])
    parts = {amount: few_labels(whole, amount, seed=seed) for amount in (0.01, 0.1, 0.5, 1.0, 4, 5)}
    counts = {amount: np.bincount(part.labels, minlength=4).tolist() for amount, part in parts.items()}
    assert counts[0.01] == [10, 1, 4, 1] and counts[0.1] == [100, 4, 40, 1] and counts[4] == [4] * 4 and counts[5] == [5] * 4
    held = [set(parts[amount].indices) for amount in (0.01, 0.1, 0.5, 1.0)]
    assert held[0] < held[1] < held[2] < held[3] and len(held[3]) == 1442
    assert set(parts[4].indices) < set(parts[5].indices)
    assert set(few_labels(whole, 0.1, seed=seed + 2).indices) != held[1]
    assert (np.diff(parts[0.1].indices) > 0).all() and parts[0.1][0]["label"] == parts[0.1].labels[0]


def test_unlabelled_examples_have_no_label_however_they_are_read():
    hidden = unlabelled(source())
    assert hidden[3]["label"] == -1 and number(hidden[3]) == 3 and set(hidden.labels) == {-1} and len(hidden.labels) == 264
    assert hidden.take(np.array([5, 2]))["label"].tolist() == [-1, -1]
    assert unlabelled(Drawn(source())).draw(4, seed=1, epoch=2)["asked"] == (4, 1, 2)
    assert unlabelled(Drawn(source())).draw(4, seed=1, epoch=2)["label"] == -1
    assert not hasattr(hidden, "draw") and not hasattr(hidden, "view")
    stream = data.together(few_labels(source(), 3), unlabelled=(hidden, 2))
    batch = next(data.batches(stream, 6))
    assert batch["unlabelled"]["label"].tolist() == [-1] * 12 and batch["label"].min() >= 0


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_numbers_of_numpy_are_numbers(kind):
    whole = source([15, 25, 45])
    assert few_labels(whole, kind(0.1)).indices.tolist() == few_labels(whole, 0.1).indices.tolist()
    assert few_labels(whole, np.int32(4)).indices.tolist() == few_labels(whole, 4).indices.tolist()
    assert len(next(data.batches(data.together(whole, more=(whole, kind(1.5))), 4))["more"]["label"]) == 6
    for wrong in ("0.1", True, [0.1, 0.2], None):
        with pytest.raises(TypeError, match="^amount"):
            few_labels(whole, wrong)


class Linear(nn.Module):
    """A dense layer on the pixels."""

    num_classes: int

    @nn.compact
    def __call__(self, image, *, train=False):
        return nn.Dense(self.num_classes or 4, name="head")(image.reshape(len(image), -1))  # [B, H * W * C]


def brightness(params, carry, batch, *, key, step):
    """A loss without labels."""
    outputs = Linear(0).apply({"params": params["model"]}, jnp.asarray(batch["image"], jnp.float32) / 255)
    return jnp.square(outputs).mean(), jv.Aux(carry, {})


def test_a_classifier_is_not_trained_on_unlabelled_examples_alone(tmp_path):
    labelled = data.synthetic(24, image_shape=(4, 4, 1), num_classes=3)
    hidden = unlabelled(labelled)

    def train(source, model, objective, folder, **options):
        jv.train.run(jv.train.Experiment(model, objective, optax.sgd(0.1), source, epochs=1, batch_size=8, **options), tmp_path / folder)

    supervised = jv.objectives.supervised(Linear(3))
    for source in (hidden, data.subset(hidden, np.arange(24)), data.together(hidden, more=(labelled, 1))):
        with pytest.raises(ValueError, match="^train: [^\n]*24[^\n]*$"):
            train(source, Linear(3), supervised, "refused")
    assert not (tmp_path / "refused").exists()
    train(data.together(labelled, unlabelled=(hidden, 2)), Linear(3), supervised, "beside")
    train(hidden, Linear(0), jv.objectives.supervised(Linear(0))._replace(loss=brightness), "without")


def test_sources_without_single_labels_cannot_be_balanced():
    several = data.arrays(np.zeros((3, 1, 1), np.uint8), np.eye(3))
    none = data.subset(source(), [])
    cases = [
        (lambda: class_balanced(several), r"^source: .*\(3, 3\).*class_balanced"),
        (lambda: few_labels(several, 0.1), "^source: .*few_labels"),
        (lambda: class_balanced(none), "^source"),
        (lambda: few_labels(unlabelled(source()), 0.1), "^source: .*264"),
        (lambda: few_labels(source(), 0.0), "^amount"),
        (lambda: few_labels(source(), 1.5), "^amount"),
        (lambda: few_labels(source(), 0), "^amount"),
        (lambda: few_labels(source(), 4), "^amount"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message) as error:
            call()
        assert "\n" not in str(error.value)


def test_crops_of_balanced_classes_are_those_of_their_own_epoch():
    balanced = class_balanced(data.shapes(40, size=24))
    for crops, options in ((data.random_crops, {}), (data.center_crops, {"resize": 20})):
        cropped = crops(balanced, 16, **options)
        for epoch in range(3):
            labels = [cropped.draw(i, seed=0, epoch=epoch)["label"] for i in range(40)]
            assert labels == [balanced.draw(i, seed=0, epoch=epoch)["label"] for i in range(40)]
        images = [cropped.draw(1, seed=0, epoch=epoch)["image"].tolist() for epoch in range(3)]
        assert images[0] != images[1] != images[2]
