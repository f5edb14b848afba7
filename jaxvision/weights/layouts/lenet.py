"""LeNet's names: as a PyTorch Sequential with an activation behind each layer, and as PyTorch's tutorial for CIFAR-10 calls them."""

from jaxvision.weights.transforms import flattened

IMAGE_SIZE = 32
LAYOUTS = {
    "sequential": (
        ("stem", "0"),
        ("stage1", "3"),
        ("stage2", "7", flattened(5, 5)),
        ("stage3", "9"),
        ("head", "11"),
    ),
    "tutorial": (
        ("stem", "conv1"),
        ("stage1", "conv2"),
        ("stage2", "fc1", flattened(5, 5)),
        ("stage3", "fc2"),
        ("head", "fc3"),
    ),
}
