"""Which models of a matrix the fast set runs."""

FAMILIES = {  # the lightest row of every family, and of each kind of block
    *("lenet5", "alexnet", "vgg11", "vgg11_bn", "googlenet", "xception", "densenet121", "mobilenet_v3_small", "efficientnet_b0"),
    *("regnet_y_400mf", "resnet18", "seresnet18", "resnetv2_18", "plain20", "convnextv2_atto", "swin_tiny_patch4_window7_224"),
    *("mixer_s32_224", "gmlp_ti16_224", "vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"),
}
KINDS = {"lenet5", "resnet18", "mobilenet_v3_small", "convnextv2_atto", "vit_tiny_patch16_224"}  # a few that differ most
