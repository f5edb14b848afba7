"""Names of LeNet's weights in a PyTorch Sequential with an activation after each layer, and in PyTorch's CIFAR-10 tutorial."""

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
