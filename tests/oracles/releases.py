"""Files as the public releases of self-supervised methods write them: their names and shapes around a network of timm's or torchvision's.

Each function takes a PyTorch network and gives what ``torch.save`` would be given; heads and decoders hold random numbers.
"""

import argparse
import math
import re

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: the releases are NOT compared with it")


def _random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape)


def _under(prefix: str, tensors: dict) -> dict:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def dino_mlp(width: int, hidden: int = 10, bottleneck: int = 6, *, norms: bool = False) -> torch.nn.Sequential:
    """The layers of DINO's head, with use_bn_in_head where ``norms`` says so."""
    layers = []
    for before in (width, hidden):
        layers += [torch.nn.Linear(before, hidden), *[torch.nn.BatchNorm1d(hidden)] * norms, torch.nn.GELU()]
    return torch.nn.Sequential(*layers, torch.nn.Linear(hidden, bottleneck))


def dino_head(width: int, prototypes: int = 12, bottleneck: int = 6, *, norms: bool = False) -> dict:
    """The head's layers and its weight-normalised prototypes."""
    layers = dino_mlp(width, bottleneck=bottleneck, norms=norms).state_dict()
    layers = {name: _random(*tensor.shape) if tensor.is_floating_point() else tensor for name, tensor in layers.items()}
    return _under("mlp.", layers) | {
        "last_layer.weight_g": torch.ones(prototypes, 1),
        "last_layer.weight_v": _random(prototypes, bottleneck),
    }


def dino(teacher, student, *, norms: bool = False) -> dict:
    """A full checkpoint of facebookresearch/dino; the student is wrapped for several devices."""
    width = teacher.state_dict()["norm.weight"].numel()
    states = {}
    for name, network, wrapped in (("student", student, "module."), ("teacher", teacher, "")):
        states[name] = _under(f"{wrapped}backbone.", network.state_dict()) | _under(f"{wrapped}head.", dino_head(width, norms=norms))
    optimizer = {"state": {0: {"step": 3, "exp_avg": _random(2)}}, "param_groups": [{"lr": 1e-3, "params": [0]}]}
    rest = {"optimizer": optimizer, "epoch": 100, "args": argparse.Namespace(arch="vit_small"), "dino_loss": {"center": _random(1, 12)}}
    return {**states, **rest}


def dinov2(network, *, chunks: int = 0) -> dict:
    """A backbone of facebookresearch/dinov2: a mask token, SwiGLU's own names, and with registers a position for the class token."""
    tensors = dict(network.state_dict())
    width = tensors["cls_token"].shape[-1]
    if "reg_token" in tensors:
        first = _random(1, 1, width)
        tensors["register_tokens"] = tensors.pop("reg_token")
        tensors["cls_token"] = tensors["cls_token"] - first
        tensors["pos_embed"] = torch.cat([first, tensors["pos_embed"]], dim=1)
    if "blocks.0.mlp.fc1.weight" in tensors and tensors["blocks.0.mlp.fc1.weight"].shape[0] != 4 * width:
        tensors = {name.replace("mlp.fc1", "mlp.w12").replace("mlp.fc2", "mlp.w3"): tensor for name, tensor in tensors.items()}
    if chunks:
        depth = 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("blocks."))
        chunk = lambda found: f"blocks.{int(found[1]) * chunks // depth}.{found[1]}."  # noqa: E731
        tensors = {re.sub(r"^blocks\.(\d+)\.", chunk, name): tensor for name, tensor in tensors.items()}
    return {"mask_token": torch.zeros(1, width), **tensors}


def sines(side: int, width: int) -> torch.Tensor:
    """Positions of a square grid [1, 1 + side^2, width]: zeros, then place by place the column's sines and cosines and the row's."""
    rows = [torch.zeros(width)]
    rates = [10000 ** (-index / (width // 4)) for index in range(width // 4)]
    for row in range(side):
        for column in range(side):
            rows.append(torch.tensor([wave(place * rate) for place in (column, row) for wave in (math.sin, math.cos) for rate in rates]))
    return torch.stack(rows)[None]


def mae_decoder(width: int, patches: int, patch_size: int, *, decoder_width: int = 16, depth: int = 1) -> dict:
    """The decoder of facebookresearch/mae beside its encoder."""
    decoder = {
        "mask_token": _random(1, 1, decoder_width),
        "decoder_pos_embed": sines(math.isqrt(patches), decoder_width),
        "decoder_embed.weight": _random(decoder_width, width),
        "decoder_embed.bias": _random(decoder_width),
        "decoder_norm.weight": _random(decoder_width),
        "decoder_norm.bias": _random(decoder_width),
        "decoder_pred.weight": _random(3 * patch_size**2, decoder_width),
        "decoder_pred.bias": _random(3 * patch_size**2),
    }
    layers = {"attn.qkv": (3, 1), "attn.proj": (1, 1), "mlp.fc1": (4, 1), "mlp.fc2": (1, 4)}
    for index in range(depth):
        there = f"decoder_blocks.{index}"
        for name, (after, before) in layers.items():
            decoder[f"{there}.{name}.weight"] = _random(after * decoder_width, before * decoder_width) / decoder_width**0.5
            decoder[f"{there}.{name}.bias"] = _random(after * decoder_width)
        for name in ("norm1", "norm2"):
            decoder |= {f"{there}.{name}.weight": _random(decoder_width), f"{there}.{name}.bias": _random(decoder_width)}
    return decoder


_CONVNEXT = (  # timm's names, the authors'
    (r"^stem\.", "downsample_layers.0."),
    (r"^stages\.(\d+)\.downsample\.", r"downsample_layers.\1."),
    (r"^stages\.(\d+)\.blocks\.", r"stages.\1."),
    (r"\.conv_dw\.", ".dwconv."),
    (r"\.mlp\.grn\.weight$", ".grn.gamma"),
    (r"\.mlp\.grn\.bias$", ".grn.beta"),
    (r"\.mlp\.fc(\d)\.", r".pwconv\1."),
    (r"^head\.norm\.", "norm."),
    (r"^head\.fc\.", "head."),
)


def convnext(network) -> dict:
    """A network of facebookresearch/ConvNeXt or ConvNeXt-V2 as fine-tuned."""
    found = {}
    for name, tensor in network.state_dict().items():
        for theirs, ours in _CONVNEXT:
            name = re.sub(theirs, ours, name)
        if ".pwconv" in name and tensor.ndim == 4:
            tensor = tensor[:, :, 0, 0]
        found[name] = tensor.reshape(1, 1, 1, -1) if ".grn." in name else tensor
    return {"model": found}


def _sparse(name: str, tensor: torch.Tensor) -> tuple[str, torch.Tensor]:
    """The dense network's tensor as the sparse engine keeps it; the first layers are dense there too."""
    if name.startswith("downsample_layers.0."):
        return name, tensor
    if ".grn." in name:
        return name, tensor.reshape(1, -1)
    if "pwconv" in name:
        return name.replace(".weight", ".linear.weight").replace(".bias", ".linear.bias"), tensor
    if tensor.ndim == 4:  # [out, in, rows, columns], columns of places first
        places = [tensor[:, :, row, column].T for column in range(tensor.shape[3]) for row in range(tensor.shape[2])]
        kernel = torch.stack(places)  # [places, in, out]
        return name.replace(".weight", ".kernel"), kernel[:, 0] if ".dwconv." in name else kernel
    if ".dwconv." in name or re.match(r"downsample_layers\.\d\.1\.bias", name):
        return name, tensor.reshape(1, -1)
    return re.sub(r"\.(weight|bias)$", r".ln.\1", name), tensor


def fcmae(network, *, sparse: bool, width: int = 8) -> dict:
    """The pre-training of facebookresearch/ConvNeXt-V2: the encoder without its last norm; from the sparse engine, with the decoder."""
    dense = {name: tensor for name, tensor in convnext(network)["model"].items() if not name.startswith(("norm.", "head."))}
    if not sparse:
        return {"model": dense}
    encoder = dict(_sparse(name, tensor) for name, tensor in dense.items())
    last = max(tensor.numel() for name, tensor in encoder.items() if ".norm." in name)
    decoder = {
        "mask_token": _random(1, width, 1, 1),
        "proj.weight": _random(width, last, 1, 1),
        "proj.bias": _random(width),
        "decoder.0.dwconv.weight": _random(width, 1, 7, 7) / 7,
        "decoder.0.dwconv.bias": _random(width),
        "decoder.0.norm.weight": _random(width),
        "decoder.0.norm.bias": _random(width),
        "decoder.0.pwconv1.weight": _random(4 * width, width),
        "decoder.0.pwconv1.bias": _random(4 * width),
        "decoder.0.grn.gamma": _random(1, 1, 1, 4 * width),
        "decoder.0.grn.beta": _random(1, 1, 1, 4 * width),
        "decoder.0.pwconv2.weight": _random(width, 4 * width),
        "decoder.0.pwconv2.bias": _random(width),
        "pred.weight": _random(32 * 32 * 3, width, 1, 1),
        "pred.bias": _random(32 * 32 * 3),
    }
    return {"model": _under("encoder.", encoder) | decoder}


def lightly(network, *, counted: bool = True, own: bool = False) -> dict:
    """SimCLR by lightly: the network without its classifier, counted as a Sequential (or whole), and a projection head with norms.

    ``own``: lightly's residual network for small images, whose shortcuts have another name and whose stem no pooling.
    """
    backbone = torch.nn.Sequential(*list(network.children())[:-1]).state_dict() if counted else network.state_dict()
    if own:
        earlier = {"4": "2", "5": "3", "6": "4", "7": "5"}  # without ReLU and pooling as modules
        backbone = {f"{earlier.get(name.split('.')[0], name.split('.')[0])}.{name.partition('.')[2]}": t for name, t in backbone.items()}
        backbone = {name.replace("downsample", "shortcut"): tensor for name, tensor in backbone.items()}
    width = network.layer4[-1].bn2.num_features
    layers = {"0.weight": _random(width, width), "3.weight": _random(8, width)}
    for place, size in (("1", width), ("4", 8)):
        layers |= {f"{place}.weight": _random(size), f"{place}.bias": _random(size), f"{place}.num_batches_tracked": torch.tensor(3)}
        layers |= {f"{place}.running_mean": _random(size), f"{place}.running_var": torch.ones(size)}
    kept = {name: tensor for name, tensor in backbone.items() if not name.startswith("fc.")}
    state = _under("backbone.", kept) | _under("projection_head.layers.", layers)
    return {"state_dict": state, "epoch": 199, "global_step": 100}


def solo(network, *, backbone: str = "backbone") -> dict:
    """SimCLR by solo-learn: torchvision's names, a projector of two layers, a classifier trained beside it; older files say "encoder"."""
    width = network.layer4[-1].bn2.num_features
    head = {"projector.0.weight": _random(10, width), "projector.0.bias": _random(10), "classifier.weight": _random(5, width)}
    head |= {"projector.2.weight": _random(6, 10), "projector.2.bias": _random(6), "classifier.bias": _random(5)}
    kept = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith("fc.")}
    return {"state_dict": _under(f"{backbone}.", kept) | head, "epoch": 999}
