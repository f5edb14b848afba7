"""Networks that no library has, assembled in PyTorch from their papers' tables; their state dicts have torchvision's names."""

from collections import OrderedDict

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: networks from the papers' tables are NOT compared with")
nn = torch.nn


def _stacked(features: list, grid: int, classifier: list):
    """Layers on maps, their means over ``grid`` x ``grid`` bins, and layers on vectors."""
    parts = {"features": nn.Sequential(*features), "pool": nn.AdaptiveAvgPool2d(grid), "flatten": nn.Flatten()}
    return nn.Sequential(OrderedDict(parts | {"classifier": nn.Sequential(*classifier)}))


def response() -> nn.Module:
    """Krizhevsky et al. (2012), section 3.3: n = 5, alpha = 1e-4, beta = 0.75, k = 2."""
    return nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2.0)


def alexnet(widths: tuple[int, ...], hidden: int, num_classes: int, *, groups: int = 1, padding: int = 0, norm: str = ""):
    """Krizhevsky et al. (2012), section 3.5: overlapping pooling (3 x 3, stride 2) behind the first, second and fifth convolution.

    ``norm`` "response": behind the ReLU of the first two, before their pooling; "batch": before every ReLU.
    """
    batch = lambda width: [nn.BatchNorm2d(width)] if norm == "batch" else []  # noqa: E731
    pooled = lambda: nn.Sequential(response(), nn.MaxPool2d(3, 2)) if norm == "response" else nn.MaxPool2d(3, 2)  # noqa: E731
    one, two, three, four, five = widths
    features = [
        *(nn.Conv2d(3, one, 11, 4, padding), *batch(one), nn.ReLU(), pooled()),
        *(nn.Conv2d(one, two, 5, 1, 2, groups=groups), *batch(two), nn.ReLU(), pooled()),
        *(nn.Conv2d(two, three, 3, 1, 1), *batch(three), nn.ReLU()),
        *(nn.Conv2d(three, four, 3, 1, 1, groups=groups), *batch(four), nn.ReLU()),
        *(nn.Conv2d(four, five, 3, 1, 1, groups=groups), *batch(five), nn.ReLU(), nn.MaxPool2d(3, 2)),
    ]
    dense = [nn.Dropout(0.0), nn.Linear(36 * five, hidden), nn.ReLU(), nn.Dropout(0.0), nn.Linear(hidden, hidden), nn.ReLU()]
    return _stacked(features, 6, [*dense, nn.Linear(hidden, num_classes)])


VGG = {  # Simonyan & Zisserman (2015), table 1: (stage, kernel size) of each convolution
    "A": "13 M 23 M 33 33 M 43 43 M 53 53 M",
    "A-LRN": "13 LRN M 23 M 33 33 M 43 43 M 53 53 M",
    "C": "13 13 M 23 23 M 33 33 31 M 43 43 41 M 53 53 51 M",
}


def vgg(column: str, widths: tuple[int, ...], hidden: int, num_classes: int, *, batch: bool = False):
    """A column of the table with other widths; with ``batch`` a BatchNorm before every ReLU."""
    features, channels = [], 3
    for layer in VGG[column].split():
        if layer == "M":
            features.append(nn.MaxPool2d(2, 2))
        elif layer == "LRN":
            features.append(response())
        else:
            width, size = widths[int(layer[0]) - 1], int(layer[1])
            features += [nn.Conv2d(channels, width, size, 1, size // 2), *([nn.BatchNorm2d(width)] if batch else []), nn.ReLU()]
            channels = width
    dense = [nn.Linear(49 * channels, hidden), nn.ReLU(), nn.Dropout(0.0), nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(0.0)]
    return _stacked(features, 7, [*dense, nn.Linear(hidden, num_classes)])


GOOGLENET = {  # Szegedy et al. (2015), table 1: 1 x 1, 3 x 3 reduce, 3 x 3, 5 x 5 reduce, 5 x 5, pool proj
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def googlenet(params: dict, image):
    """The paper's GoogLeNet on [B, 3, H, W] with our parameters, whose shapes must be the table's; max pooling rounds sizes up (Caffe)."""
    pool = lambda x: nn.functional.max_pool2d(x, 3, 2, ceil_mode=True)  # noqa: E731

    def unit(x, leaves: dict, width: int, size: int, stride: int = 1):
        kernel, bias = (torch.tensor(leaves["conv"][name]).to(image.dtype) for name in ("kernel", "bias"))
        assert kernel.shape == (size, size, x.shape[1], width)
        return nn.functional.conv2d(x, kernel.permute(3, 2, 0, 1), bias, stride, size // 2).relu()

    stem = params["stem"]
    x = response()(pool(unit(image, stem["conv1"], 64, 7, 2)))
    x = unit(unit(x, stem["conv2"], 64, 1), stem["conv3"], 192, 3)
    x = pool(response()(x))
    for number, (name, (one, reduce3, three, reduce5, five, projected)) in enumerate(GOOGLENET.items(), 1):
        if name in ("4a", "5a"):
            x = pool(x)
        block = params[f"block{number}"]
        pooled = nn.functional.max_pool2d(x, 3, 1, 1)
        parts = (
            unit(x, block["branch1"]["conv1"], one, 1),
            unit(unit(x, block["branch2"]["conv1"], reduce3, 1), block["branch2"]["conv2"], three, 3),
            unit(unit(x, block["branch3"]["conv1"], reduce5, 1), block["branch3"]["conv2"], five, 5),
            unit(pooled, block["branch4"]["conv1"], projected, 1),
        )
        x = torch.cat(parts, dim=1)
    kernel, bias = (torch.tensor(params["head"][name]).to(image.dtype) for name in ("kernel", "bias"))
    return x.mean((2, 3)) @ kernel + bias
