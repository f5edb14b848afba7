"""Names of a Vision Transformer's weights in torchvision and timm; only timm has DeiT's second token, registers and LayerScale."""

from typing import Any

from jaxvision.weights.transforms import positions, row

_TORCHVISION_BLOCK, _TIMM_BLOCK = "encoder.layers.encoder_layer_{i-1}", "blocks.{i-1}"
_TORCHVISION = (
    ("stem/patch", "conv_proj"),
    ("stem/class_token", "class_token", row),
    ("stem/position", "encoder.pos_embedding", positions),
    ("block{i}/norm{k}", f"{_TORCHVISION_BLOCK}.ln_{{k}}"),
    ("block{i}/attention/qkv/kernel", f"{_TORCHVISION_BLOCK}.self_attention.in_proj_weight"),
    ("block{i}/attention/qkv/bias", f"{_TORCHVISION_BLOCK}.self_attention.in_proj_bias"),
    ("block{i}/attention/project", f"{_TORCHVISION_BLOCK}.self_attention.out_proj"),
    ("block{i}/mlp/expand", f"{_TORCHVISION_BLOCK}.mlp.0"),
    ("block{i}/mlp/contract", f"{_TORCHVISION_BLOCK}.mlp.3"),
    ("norm", "encoder.ln"),
    ("head", "heads.head"),
)


def torchvision(model: Any) -> tuple:
    """torchvision's rules; it has neither mean pooling nor the later options."""
    distilled, registers, layer_scale, gated, *_ = model.form
    return _TORCHVISION if model.pool == "token" and not any((distilled, registers, layer_scale, gated)) else ()


def timm(model: Any) -> tuple:
    """timm's rules; with mean pooling the last norm is called ``fc_norm``."""
    return (
        ("stem/patch", "patch_embed.proj"),
        ("stem/class_token", "cls_token", row),
        ("stem/distillation_token", "dist_token", row),
        ("stem/registers", "reg_token", row),
        ("stem/position", "pos_embed", positions),
        ("block{i}/norm{k}", f"{_TIMM_BLOCK}.norm{{k}}"),
        ("block{i}/attention/qkv", f"{_TIMM_BLOCK}.attn.qkv"),
        ("block{i}/attention/project", f"{_TIMM_BLOCK}.attn.proj"),
        ("block{i}/layer_scale{k}/gamma", f"{_TIMM_BLOCK}.ls{{k}}.gamma"),
        ("block{i}/mlp/expand", f"{_TIMM_BLOCK}.mlp.fc1"),
        ("block{i}/mlp/contract", f"{_TIMM_BLOCK}.mlp.fc2"),
        ("norm", "fc_norm" if model.pool == "mean" else "norm"),
        ("head/token", "head"),
        ("head/distillation", "head_dist"),
        ("head", "head"),
    )


LAYOUTS = {"torchvision": torchvision, "timm": timm}
