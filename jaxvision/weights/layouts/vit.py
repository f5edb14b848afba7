"""Where torchvision and timm keep a Vision Transformer's weights; DeiT's second token, registers and LayerScale are timm's alone."""

from jaxvision.weights.transforms import positions, row

_THERE, _BLOCK = "encoder.layers.encoder_layer_{i-1}", "blocks.{i-1}"
_TORCHVISION = (
    ("stem/patch", "conv_proj"),
    ("stem/class_token", "class_token", row),
    ("stem/position", "encoder.pos_embedding", positions),
    ("block{i}/norm{k}", f"{_THERE}.ln_{{k}}"),
    ("block{i}/attention/qkv/kernel", f"{_THERE}.self_attention.in_proj_weight"),
    ("block{i}/attention/qkv/bias", f"{_THERE}.self_attention.in_proj_bias"),
    ("block{i}/attention/project", f"{_THERE}.self_attention.out_proj"),
    ("block{i}/mlp/expand", f"{_THERE}.mlp.0"),
    ("block{i}/mlp/contract", f"{_THERE}.mlp.3"),
    ("norm", "encoder.ln"),
    ("head", "heads.head"),
)


def torchvision(model) -> tuple:
    """torchvision's rules; it has neither the mean of the patches nor what came after the first paper."""
    distilled, registers, layer_scale, gated, *_ = model.form
    return _TORCHVISION if model.pool == "token" and not any((distilled, registers, layer_scale, gated)) else ()


def timm(model) -> tuple:
    """timm's rules; behind the mean of the patches the last norm is called ``fc_norm``."""
    return (
        ("stem/patch", "patch_embed.proj"),
        ("stem/class_token", "cls_token", row),
        ("stem/distillation_token", "dist_token", row),
        ("stem/registers", "reg_token", row),
        ("stem/position", "pos_embed", positions),
        ("block{i}/norm{k}", f"{_BLOCK}.norm{{k}}"),
        ("block{i}/attention/qkv", f"{_BLOCK}.attn.qkv"),
        ("block{i}/attention/project", f"{_BLOCK}.attn.proj"),
        ("block{i}/layer_scale{k}/gamma", f"{_BLOCK}.ls{{k}}.gamma"),
        ("block{i}/mlp/expand", f"{_BLOCK}.mlp.fc1"),
        ("block{i}/mlp/contract", f"{_BLOCK}.mlp.fc2"),
        ("norm", "fc_norm" if model.pool == "mean" else "norm"),
        ("head/token", "head"),
        ("head/distillation", "head_dist"),
        ("head", "head"),
    )


LAYOUTS = {"torchvision": torchvision, "timm": timm}
