"""Plots of networks: reconstructions, attention, scatter plots, neighbours, patches, gradients, patch embeddings."""

import jax
import numpy as np
import pytest

import jaxvision as jv
from tests.marks import slow
from tests.plots.reading import assert_apart, extents, picture

pytest.importorskip("matplotlib")
DRAW = np.random.default_rng(0)
LONG = "African hunting dog, hyena dog, Cape hunting dog"


def images(*shape: int, kind=np.float32) -> np.ndarray:
    drawn = DRAW.random(shape)
    return (255 * drawn).astype(np.uint8) if kind is np.uint8 else drawn.astype(kind)


def words(figure) -> list:
    return [figure._suptitle, *(axis.title for axis in figure.axes)] if figure._suptitle else [axis.title for axis in figure.axes]


def shown(figure) -> list:
    return [axis for axis in figure.axes if axis.images]


@pytest.mark.parametrize(("count", "size", "channels"), [(1, (8, 8), 3), (4, (8, 12), 1), (5, (12, 8), 3), (17, (8, 8), 1)])
@pytest.mark.parametrize("mode", ["honest", "oracle"])
def test_reconstructions_are_drawn_between_masked_and_original(tmp_path, figures, count, size, channels, mode):
    masked, rebuilt, original = (images(count, *size, channels) for _ in range(3))
    jv.plots.reconstructions(masked, 2 * rebuilt - 0.5, original, tmp_path / "new" / "a.png", mode=mode)
    picture(tmp_path / "new" / "a.png")
    (figure,) = figures
    assert figure.get_suptitle().startswith(f"{mode}: ")
    assert len(shown(figure)) == 3 * count
    columns = figure.axes[0].get_gridspec().ncols
    top = [axis.get_title() for axis in figure.axes[:columns]]
    assert top == ["masked", "reconstruction", "original"] * (columns // 3)
    pixels = [np.asarray(axis.images[0].get_array()) for axis in figure.axes[:3]]
    for found, expected in zip(pixels, (masked[0], np.clip(2 * rebuilt[0] - 0.5, 0, 1), original[0]), strict=True):
        np.testing.assert_allclose(found, expected.squeeze(-1) if channels == 1 else expected, atol=1e-6)
    assert_apart(extents(figure, words(figure)))


def test_reconstructions_refuse_other_modes_and_shapes(tmp_path):
    a = images(2, 4, 4, 3)
    with pytest.raises(ValueError, match="mode"):
        jv.plots.reconstructions(a, a, a, tmp_path / "no.png", mode="fair")
    with pytest.raises(ValueError, match="masked, reconstruction, original"):
        jv.plots.reconstructions(a, a, a[:1], tmp_path / "no.png", mode="honest")
    with pytest.raises(ValueError, match="reconstruction"):
        jv.plots.reconstructions(a, a[..., 0], a, tmp_path / "no.png", mode="honest")


@pytest.mark.parametrize(
    ("heads", "grid", "size", "channels"), [(1, (2, 2), (8, 8), 3), (3, (4, 6), (32, 48), 1), (16, (7, 3), (28, 12), 3)]
)
def test_attention_is_drawn_over_the_image_for_each_head(tmp_path, figures, heads, grid, size, channels):
    maps = DRAW.dirichlet(np.ones(grid[0] * grid[1]), heads).reshape(heads, *grid) * 0.9
    jv.plots.attention(images(*size, channels, kind=np.uint8), maps, tmp_path / "a.png")
    picture(tmp_path / "a.png")
    (figure,) = figures
    assert len(shown(figure)) == 1 + heads + (heads > 1)
    head = figure.axes[1]
    np.testing.assert_allclose(np.asarray(head.images[1].get_array()), maps[0], atol=1e-6)
    assert head.images[1].get_extent() == [-0.5, size[1] - 0.5, size[0] - 0.5, -0.5]
    assert f"{maps[0].max():.1%}" in head.get_title() and "90%" in figure.get_suptitle()
    assert_apart(extents(figure, words(figure)))


def test_attention_of_a_transformer_at_another_image_size(tmp_path, figures):
    model = jv.create_model("vit_tiny_patch16_224", image_size=16, patch_size=8, num_classes=0).clone(depth=1)
    image = images(1, 24, 40, 3)
    maps = jv.models.class_attention(model, jax.jit(model.init)(jax.random.key(0), image), image)[0, -1]
    jv.plots.attention(image[0], maps, tmp_path / "a.png")
    assert np.asarray(figures[0].axes[3].images[1].get_array()).shape == (3, 5) and len(shown(figures[0])) == 5


def test_attention_refuses_other_shapes(tmp_path):
    for image, maps, named in (
        (images(8, 8), images(3, 2, 2), "image"),
        (images(8, 8, 3), images(1, 3, 2, 2), "maps"),
    ):
        with pytest.raises(ValueError, match=named):
            jv.plots.attention(image, maps, tmp_path / "no.png")


def test_tsne_keeps_clusters_and_is_deterministic():
    labels = np.repeat(np.arange(3), 15)
    features = 6 * np.eye(3, 60)[labels] + 0.3 * DRAW.standard_normal((45, 60))
    points = jv.plots.tsne(features, perplexity=8)
    np.testing.assert_array_equal(points, jv.plots.tsne(features, perplexity=8))
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1) + 1e9 * np.eye(45)
    assert points.shape == (45, 2) and np.all(labels[distances.argmin(1)] == labels)
    for wrong, named in (
        ({"features": np.zeros((5, 2, 2))}, "features"),
        ({"features": np.full((5, 2), np.nan)}, "features"),
        ({"features": features, "perplexity": 45}, "perplexity"),
    ):
        with pytest.raises(ValueError, match=named):
            jv.plots.tsne(**wrong)


@pytest.mark.parametrize(("panels", "classes"), [(1, 2), (2, 10), (3, 20), (1, 40), slow(1, 200)])
def test_points_are_coloured_by_class(tmp_path, figures, panels, classes):
    labels = np.arange(3 * classes) % classes
    points = {f"{panel} {LONG}": DRAW.standard_normal((len(labels), 2)) for panel in range(panels)}
    jv.plots.embedding(points, labels, [f"{index} {LONG}" for index in range(classes)], tmp_path / "a.png")
    picture(tmp_path / "a.png")
    (figure,) = figures
    assert len(figure.axes) == panels and len(figure.legends) == (classes <= 20)
    scattered = figure.axes[0].collections
    assert len(scattered) == classes
    np.testing.assert_allclose(scattered[1].get_offsets(), next(iter(points.values()))[labels == 1])
    assert len({tuple(part.get_facecolor()[0]) for part in scattered}) > 0.9 * classes
    named = figure.legends[0].get_texts() if figure.legends else []
    assert len(named) in (0, classes)
    assert_apart(extents(figure, [*words(figure), *named]))


def test_embedding_refuses_arrays_that_do_not_match(tmp_path):
    for points, labels, named in (
        ({"a": np.zeros((3, 3))}, np.zeros(3, int), "points"),
        ({}, np.zeros(3, int), "points"),
        ({"a": np.zeros((3, 2))}, np.full(3, 2), "labels"),
    ):
        with pytest.raises(ValueError, match=named):
            jv.plots.embedding(points, labels, ["x", "y"], tmp_path / "no.png")


@pytest.mark.parametrize(("count", "k", "channels"), [(1, 1, 1), (3, 4, 3), slow(5, 8, 3)])
@pytest.mark.parametrize("labelled", [False, True])
def test_neighbours_are_drawn_after_their_image(tmp_path, figures, count, k, channels, labelled):
    queries, nearest = images(count, 6, 6, channels), images(count, k, 6, 6, channels)
    options = {}
    if labelled:
        labels = DRAW.integers(0, 2, (count, k))
        names = {"classes": [LONG, "W" * 40], "similarity": DRAW.random((count, k))}
        options = {"query_labels": labels[:, 0], "neighbour_labels": labels, **names}
    jv.plots.neighbours(queries, nearest, tmp_path / "a.png", **options)
    picture(tmp_path / "a.png")
    (figure,) = figures
    assert len(shown(figure)) == count * (k + 1)
    np.testing.assert_array_equal(np.asarray(figure.axes[1].images[0].get_array()), nearest[0, 0].squeeze())
    if labelled:  # the first neighbour has the class of the image
        assert figure.axes[1].title.get_color() == jv.plots.drawing.RIGHT
        for column in range(k):
            right = labels[0, column] == labels[0, 0]
            assert figure.axes[1 + column].title.get_color() == (jv.plots.drawing.RIGHT if right else jv.plots.drawing.WRONG)
    assert_apart(extents(figure, words(figure)))


def test_neighbours_refuse_arrays_that_do_not_match(tmp_path):
    queries, nearest = images(2, 4, 4, 3), images(2, 3, 4, 4, 3)
    for arguments, options in (
        ((queries[:1], nearest), {}),
        ((queries, nearest), {"query_labels": np.zeros(2)}),
        ((queries, nearest), {"query_labels": np.zeros(2), "neighbour_labels": np.zeros((3, 2))}),
    ):
        with pytest.raises(ValueError, match="queries, neighbours"):
            jv.plots.neighbours(*arguments, tmp_path / "no.png", **options)


@pytest.mark.parametrize(("channels", "count", "colors"), [(1, 1, 1), (4, 6, 3), slow(6, 9, 3)])
def test_top_patches_are_rows_of_channels(tmp_path, figures, channels, count, colors):
    patches = images(channels, count, 5, 5, colors, kind=np.uint8)
    names = [f"{index} {LONG}" for index in range(channels)]
    jv.plots.top_patches(patches, tmp_path / "a.png", names=names, strengths=DRAW.random((channels, count)))
    picture(tmp_path / "a.png")
    (figure,) = figures
    np.testing.assert_array_equal(np.asarray(figure.axes[count - 1].images[0].get_array()), patches[0, count - 1].squeeze())
    labels = [axis.texts[0] for axis in figure.axes[::count]]
    assert [label.get_text()[0] for label in labels] == [str(index) for index in range(channels)]
    assert_apart(extents(figure, [*words(figure), *labels]))
    jv.plots.top_patches(patches, tmp_path / "b.png")
    with pytest.raises(ValueError, match="names, strengths"):
        jv.plots.top_patches(images(2, 2, 4, 4, 3), tmp_path / "no.png", names=["a"], strengths=np.zeros((1, 2)))


@pytest.mark.parametrize("channels", [1, 3])
def test_gradients_are_grey_where_they_are_zero(tmp_path, figures, channels):
    gradient = np.zeros((6, 8, channels))
    gradient[2, 3] = -4.0
    jv.plots.gradients(images(6, 8, channels), {"gradient": gradient, LONG: gradient + 1}, tmp_path / "a.png")
    picture(tmp_path / "a.png")
    found = np.asarray(figures[0].axes[1].images[0].get_array())
    assert found[0, 0].max() == 0.5 and found[2, 3].max() == 0
    assert_apart(extents(figures[0], words(figures[0])))
    with pytest.raises(ValueError, match="gradient"):
        jv.plots.gradients(images(6, 8, 3), {"gradient": np.zeros((6, 8))}, tmp_path / "no.png")


def test_principal_components_of_a_patch_embedding(tmp_path, figures):
    patterns = np.linalg.qr(DRAW.standard_normal((48, 2)))[0].T  # [2, 4 4 3]
    weights = DRAW.standard_normal((300, 2)) * [10, 1]
    kernel = (weights @ patterns).T.reshape(4, 4, 3, 300)
    jv.plots.filters(kernel, tmp_path / "a.png", components=2)
    jv.plots.filters(kernel, tmp_path / "b.png", before=0 * kernel, components=2)
    jv.plots.filters(kernel, tmp_path / "c.png")
    tiles = np.asarray(figures[0].axes[0].images[0].get_array())
    first, expected = tiles[1:5, 1:5], patterns[0].reshape(4, 4, 3)
    assert abs(np.corrcoef(first.ravel(), expected.ravel())[0, 1]) > 0.99
    assert "principal components" in figures[0].axes[0].get_title()
    height, width = np.asarray(figures[2].axes[0].images[0].get_array()).shape[:2]
    assert 0.9 < height / width < 1.1  # 300 filters in a square
    with pytest.raises(ValueError, match="components"):
        jv.plots.filters(kernel, tmp_path / "no.png", components=0)
