"""AlexNet's names in torchvision; the form without normalisation."""

from jaxvision.weights.changes import flattened

LAYOUTS = {
    "torchvision": (
        ("stem/conv", "features.0"),
        ("stage1/conv", "features.3"),
        ("stage2/conv", "features.6"),
        ("stage3/conv", "features.8"),
        ("stage4/conv", "features.10"),
        ("stage5", "classifier.1", flattened(6, 6)),
        ("stage6", "classifier.4"),
        ("head", "classifier.6"),
    ),
}
