"""Names of RegNet's weights in torchvision and timm."""

from jaxvision.weights.layouts import unit

_OURS, _TORCHVISION, _TIMM = "stage{i}/block{j}", "trunk_output.block{i}.block{i}-{j-1}", "s{i}.b{j}"
LAYOUTS = {
    "torchvision": (
        *unit("stem", "stem.0", "stem.1"),
        *unit(f"{_OURS}/conv1", f"{_TORCHVISION}.f.a.0", f"{_TORCHVISION}.f.a.1"),
        *unit(f"{_OURS}/conv2", f"{_TORCHVISION}.f.b.0", f"{_TORCHVISION}.f.b.1"),
        *unit(f"{_OURS}/conv3", f"{_TORCHVISION}.f.c.0", f"{_TORCHVISION}.f.c.1"),
        *unit(f"{_OURS}/shortcut", f"{_TORCHVISION}.proj.0", f"{_TORCHVISION}.proj.1"),
        (f"{_OURS}/squeeze/reduce", f"{_TORCHVISION}.f.se.fc1"),
        (f"{_OURS}/squeeze/expand", f"{_TORCHVISION}.f.se.fc2"),
        ("head", "fc"),
    ),
    "timm": (
        *unit("stem", "stem.conv", "stem.bn"),
        *unit(f"{_OURS}/conv{{k}}", f"{_TIMM}.conv{{k}}.conv", f"{_TIMM}.conv{{k}}.bn"),
        *unit(f"{_OURS}/shortcut", f"{_TIMM}.downsample.conv", f"{_TIMM}.downsample.bn"),
        (f"{_OURS}/squeeze/reduce", f"{_TIMM}.se.fc1"),
        (f"{_OURS}/squeeze/expand", f"{_TIMM}.se.fc2"),
        ("head", "head.fc"),
    ),
}
