"""Every model name as plain data: its family's file, and the names that other libraries give the same network."""

FAMILIES = {
    "lenet": ("lenet5",),
    "resnet": ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    "vit": (
        "vit_tiny_patch16_224",
        "vit_tiny_patch16_384",
        "vit_small_patch8_224",
        "vit_small_patch16_224",
        "vit_small_patch16_384",
        "vit_small_patch32_224",
        "vit_small_patch32_384",
        "vit_base_patch8_224",
        "vit_base_patch16_224",
        "vit_base_patch16_384",
        "vit_base_patch32_224",
        "vit_base_patch32_384",
        "vit_large_patch14_224",
        "vit_large_patch16_224",
        "vit_large_patch16_384",
        "vit_large_patch32_224",
        "vit_large_patch32_384",
        "vit_huge_patch14_224",
    ),
}

ALIASES = {
    "vit_b_16": "vit_base_patch16_224",
    "vit_b_32": "vit_base_patch32_224",
    "vit_l_16": "vit_large_patch16_224",
    "vit_l_32": "vit_large_patch32_224",
    "vit_h_14": "vit_huge_patch14_224",
}
