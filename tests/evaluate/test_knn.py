"""k nearest neighbours compared with loops in float64 and with scikit-learn; ties, zeros and chunks."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import jaxvision as jv
from tests.marks import slow
from tests.oracles import knn


def clouds(count: int, *, classes: int = 4, width: int = 6, noise: float = 1.2, seed: int = 0):
    """Features around one centre for each class, and their labels."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, classes, count)
    centres = np.random.default_rng(99).standard_normal((classes, width))
    return (centres[labels] + noise * draw.standard_normal((count, width))).astype(np.float32), labels


MEMORY, TEST = clouds(90), clouds(37, seed=1)


@pytest.mark.parametrize("k,temperature", [(1, 0.07), (5, 0.07), (20, 0.07), (20, 1.0), (90, 0.02)])
def test_knn_equals_a_loop_over_examples(k, temperature):
    votes = [knn.votes(*MEMORY, row, k=k, temperature=temperature, num_classes=4) for row in TEST[0]]
    expected = float(np.mean([vote.argmax() == label for vote, label in zip(votes, TEST[1], strict=True)]))
    assert 0.3 < expected < 1
    assert jv.evaluate.knn(*MEMORY, *TEST, k=k, temperature=temperature) == {"top1": expected}


def test_knn_with_more_than_five_classes_has_top5():
    memory, test = clouds(120, classes=9), clouds(50, classes=9, seed=1)
    votes = np.array([knn.votes(*memory, row, k=20, temperature=0.07, num_classes=9) for row in test[0]])
    found = jv.evaluate.knn(*memory, *test)
    assert found == {"top1": jv.evaluate.top_k(votes, test[1]), "top5": jv.evaluate.top_k(votes, test[1], k=5)}
    assert found["top1"] < found["top5"]


def test_knn_equals_scikit_learn():
    neighbors = pytest.importorskip("sklearn.neighbors")
    weights = lambda distance: np.exp((1 - distance) / 0.07)  # noqa: E731
    reference = neighbors.KNeighborsClassifier(20, metric="cosine", weights=weights).fit(*MEMORY)
    assert jv.evaluate.knn(*MEMORY, *TEST)["top1"] == reference.score(*TEST)


@pytest.mark.parametrize("chunk", [None, 1, 5, 37, 100])
def test_neighbours_equal_a_loop_for_any_chunk(chunk):
    indices, similarity = jv.evaluate.neighbours(MEMORY[0], TEST[0], 7, chunk=chunk)
    assert indices.shape == similarity.shape == (37, 7)
    for row, found, near in zip(TEST[0], indices, similarity, strict=True):
        expected = knn.neighbours(MEMORY[0], row, 7)
        assert found.tolist() == [index for index, _ in expected]
        np.testing.assert_allclose(near, [value for _, value in expected], atol=1e-6)


def test_equal_neighbours_come_in_order_and_equal_votes_go_to_the_lower_class():
    memory = np.tile(np.eye(3, dtype=np.float32), (4, 1))  # rows 0, 3, 6, 9 are equal
    indices, _ = jv.evaluate.neighbours(memory, 5 * np.eye(3)[:1], 3)
    assert indices.tolist() == [[0, 3, 6]]
    labels = np.array([2, 0, 0, 1] * 3)  # rows 0 and 3 have the labels 2 and 1
    assert jv.evaluate.knn(memory, labels, np.eye(3)[:1], np.array([1]), k=2)["top1"] == 1
    assert jv.evaluate.knn(memory, labels, np.eye(3)[:1], np.array([2]), k=2)["top1"] == 0


def test_scale_does_not_matter_and_extreme_values_stay_finite():
    scale = np.geomspace(1e-30, 1e30, 90)[:, None].astype(np.float32)
    assert jv.evaluate.knn(MEMORY[0] * scale, MEMORY[1], *TEST) == jv.evaluate.knn(*MEMORY, *TEST)
    zeros = np.zeros_like(MEMORY[0])
    _, similarity = jv.evaluate.neighbours(zeros, zeros, 3)
    np.testing.assert_array_equal(similarity, 0)
    assert jv.evaluate.knn(*MEMORY, *TEST, temperature=1e-6) == jv.evaluate.knn(*MEMORY, *TEST, k=1)


@pytest.mark.parametrize(
    "change,named",
    [
        ({"k": 0}, "k"),
        ({"k": 91}, "k"),
        ({"temperature": 0}, "temperature"),
        ({"chunk": 0}, "chunk"),
        ({"train_features": MEMORY[0][0]}, "train_features"),
        ({"test_features": TEST[0][:, :3]}, "test_features"),
        ({"test_features": np.where(np.arange(37)[:, None] < 2, np.nan, TEST[0])}, "test_features"),
        ({"train_labels": np.full(90, -1)}, "train_labels"),
        ({"test_labels": TEST[1][:5]}, "test_labels"),
        ({"test_labels": TEST[1] / 2}, "test_labels"),
    ],
)
def test_invalid_arguments_are_refused_by_name(change, named):
    arguments = dict(zip(("train_features", "train_labels", "test_features", "test_labels"), (*MEMORY, *TEST), strict=True))
    with pytest.raises(ValueError, match=named):
        jv.evaluate.knn(**(arguments | change))


class Encoder(nn.Module):
    """An encoder without classes: a call returns pooled features."""

    num_classes: int = 0

    @nn.compact
    def __call__(self, image, *, train=False):
        return nn.Dense(3, name="stem")(image.reshape(len(image), -1))  # [B, 3]


def unit_variance(encoder) -> jv.core.Objective:
    """An objective without labels: features of unit variance."""

    def init(key, batch, given={}):
        return {"model": encoder.init(key, jv.typing.to_float(batch["image"]))["params"]}, jv.core.Carry({}, {})

    def loss(params, carry, batch, *, key, step):
        features = encoder.apply({"params": params["model"]}, batch["image"])
        value = jnp.mean(jnp.square(jnp.std(features, axis=0) - 1))
        return value, jv.core.Aux(carry, {"loss": value})

    return jv.core.Objective(init, loss, jv.core.unchanged)


@pytest.mark.pictures
@pytest.mark.parametrize("hidden", [False, slow(True)])
def test_a_run_without_labels_is_evaluated_by_its_neighbours(tmp_path, hidden, capsys):
    """Three features and three classes: the features are not logits, and no plot treats them as such."""
    source, test = (jv.data.synthetic(count, image_shape=(8, 8, 1), num_classes=3, seed=seed) for count, seed in ((96, 0), (40, 1)))
    train = jv.data.unlabelled(source) if hidden else source
    encoder = Encoder()
    evaluate = jv.evaluate.nearest(source, k=5)
    options = {"epochs": 2, "batch_size": 16, "test": test, "evaluate": evaluate}
    experiment = jv.train.Experiment(encoder, unit_variance(encoder), jv.train.sgd(0.01), train, **options)
    state = jv.train.run(experiment, tmp_path)
    summary = jv.train.run_folder.read_json(tmp_path / "summary.json")
    variables = jv.train.variables(state)
    forward = lambda batch: (encoder.apply(variables, jv.evaluate.prepared(batch["image"], None)), batch["valid"])  # noqa: E731
    pairs = [*jv.evaluate.outputs(forward, source), *jv.evaluate.outputs(forward, test)]
    assert summary["top1"] == jv.evaluate.knn(*pairs, k=5)["top1"] > 0.5
    assert "test top1" in capsys.readouterr().out
    assert not (tmp_path / "plots" / "confusion.png").exists()


def test_an_encoder_is_not_evaluated_as_a_classifier(tmp_path):
    source, encoder = jv.data.synthetic(32, image_shape=(8, 8, 1), num_classes=3), Encoder()
    experiment = jv.train.Experiment(encoder, unit_variance(encoder), jv.train.sgd(0.01), source, test=source)
    with pytest.raises(ValueError, match="evaluate"):
        jv.train.run(experiment, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_memory_smaller_than_k_is_refused_before_the_run():
    with pytest.raises(ValueError, match="k"):
        jv.evaluate.nearest(jv.data.synthetic(8, image_shape=(8, 8, 1), num_classes=3))
