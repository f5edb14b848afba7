"""Other libraries' weights in our trees: only what the parity tests need; loading checkpoints is tested in tests/weights."""

import numpy as np


def _array(tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().astype(np.float32)


def conv(tensors: dict, name: str) -> dict:
    """PyTorch's [D, C, kh, kw] as our [kh, kw, C, D], with the bias where there is one."""
    bias = {"bias": _array(tensors[f"{name}.bias"])} if f"{name}.bias" in tensors else {}
    return {"kernel": _array(tensors[f"{name}.weight"]).transpose(2, 3, 1, 0)} | bias


def dense(tensors: dict, name: str) -> dict:
    """PyTorch's [out, in] as our [in, out]."""
    return {"kernel": _array(tensors[f"{name}.weight"]).T, "bias": _array(tensors[f"{name}.bias"])}


def norm(tensors: dict, name: str) -> dict:
    """Scale and bias of a normalisation."""
    return {"scale": _array(tensors[f"{name}.weight"]), "bias": _array(tensors[f"{name}.bias"])}


def statistics(tensors: dict, name: str) -> dict:
    """Running mean and variance of a batch normalisation."""
    return {"mean": _array(tensors[f"{name}.running_mean"]), "var": _array(tensors[f"{name}.running_var"])}


def lenet(tensors: dict) -> dict:
    """LeNet-5 as a PyTorch Sequential (layers 0, 3, 7, 9, 11) as {"params"}; PyTorch flattens channels first, we flatten them last."""
    wide = dense(tensors, "7")
    wide["kernel"] = wide["kernel"].reshape(16, 5, 5, 120).transpose(1, 2, 0, 3).reshape(400, 120)  # [5 * 5 * 16, 120]
    return {
        "params": {
            "stem": conv(tensors, "0"),
            "stage1": conv(tensors, "3"),
            "stage2": wide,
            "stage3": dense(tensors, "9"),
            "head": dense(tensors, "11"),
        }
    }


def resnet(tensors: dict, depths: tuple[int, ...], convolutions: int) -> dict:
    """torchvision's residual network as {"params", "batch_stats"}."""
    params = {"stem": {"conv": conv(tensors, "conv1"), "norm": norm(tensors, "bn1")}, "head": dense(tensors, "fc")}
    stats = {"stem": {"norm": statistics(tensors, "bn1")}}
    for stage, depth in enumerate(depths, 1):
        params[f"stage{stage}"], stats[f"stage{stage}"] = {}, {}
        for block in range(depth):
            old, new, new_stats = f"layer{stage}.{block}", {}, {}
            for index in range(1, convolutions + 1):
                new[f"conv{index}"] = conv(tensors, f"{old}.conv{index}")
                new[f"norm{index}"] = norm(tensors, f"{old}.bn{index}")
                new_stats[f"norm{index}"] = statistics(tensors, f"{old}.bn{index}")
            if f"{old}.downsample.0.weight" in tensors:
                new["shortcut_conv"] = conv(tensors, f"{old}.downsample.0")
                new["shortcut_norm"] = norm(tensors, f"{old}.downsample.1")
                new_stats["shortcut_norm"] = statistics(tensors, f"{old}.downsample.1")
            params[f"stage{stage}"][f"block{block + 1}"] = new
            stats[f"stage{stage}"][f"block{block + 1}"] = new_stats
    return {"params": params, "batch_stats": stats}


def timm_names(tensors: dict) -> dict:
    """torchvision's Vision Transformer under timm's names."""
    renamed = {
        "conv_proj.": "patch_embed.proj.",
        "class_token": "cls_token",
        "encoder.pos_embedding": "pos_embed",
        "encoder.layers.encoder_layer_": "blocks.",
        "encoder.ln.": "norm.",
        "heads.head.": "head.",
        ".ln_": ".norm",
        ".self_attention.in_proj_": ".attn.qkv.",
        ".self_attention.out_proj.": ".attn.proj.",
        ".mlp.0.": ".mlp.fc1.",
        ".mlp.3.": ".mlp.fc2.",
    }
    for old, new in renamed.items():
        tensors = {name.replace(old, new): tensor for name, tensor in tensors.items()}
    return tensors


def vit(tensors: dict, depth: int, *, final_norm: str = "norm") -> dict:
    """timm's Vision Transformer as {"params"}; with pooled patches its last norm is called fc_norm."""
    stem = {
        "patch": conv(tensors, "patch_embed.proj"),
        "position": _array(tensors["pos_embed"])[0],
        "class_token": _array(tensors["cls_token"])[0],
    }
    params = {"stem": stem, "norm": norm(tensors, final_norm), "head": dense(tensors, "head")}
    for block in range(depth):
        old = f"blocks.{block}"
        params[f"block{block + 1}"] = {
            "norm1": norm(tensors, f"{old}.norm1"),
            "attention": {"qkv": dense(tensors, f"{old}.attn.qkv"), "project": dense(tensors, f"{old}.attn.proj")},
            "norm2": norm(tensors, f"{old}.norm2"),
            "mlp": {"expand": dense(tensors, f"{old}.mlp.fc1"), "contract": dense(tensors, f"{old}.mlp.fc2")},
        }
    return {"params": params}
