"""A masked autoencoder in PyTorch (He et al., 2021), image by image and patch by patch, on timm's transformer and its blocks."""

import functools

import numpy as np
import torch
from timm.models.vision_transformer import Block


def _decoder_names(depth: int) -> dict[str, str]:
    """Our names of the decoder's parameters and the reference's."""
    names = {"embed": "embed", "norm": "norm", "predict": "predict"}
    for index in range(depth):
        for ours, theirs in (
            ("norm1", "norm1"),
            ("attention/qkv", "attn.qkv"),
            ("attention/project", "attn.proj"),
            ("norm2", "norm2"),
            ("mlp/expand", "mlp.fc1"),
            ("mlp/contract", "mlp.fc2"),
        ):
            names[f"block{index + 1}/{ours}"] = f"blocks.{index}.{theirs}"
    return names


def _leaf(tree: dict, path: str):
    for part in path.split("/"):
        tree = tree[part]
    return tree


class Decoder(torch.nn.Module):
    """The light decoder: linear embedding, blocks, norm and linear prediction of pixels, with our parameters put in."""

    def __init__(self, params: dict, heads: int):
        super().__init__()
        depth = sum(name.startswith("block") for name in params)
        inputs, width = params["embed"]["kernel"].shape
        norm = functools.partial(torch.nn.LayerNorm, eps=1e-6)
        self.embed = torch.nn.Linear(inputs, width)
        self.mask_token = torch.nn.Parameter(torch.tensor(params["mask_token"][0]))
        self.blocks = torch.nn.ModuleList(Block(width, heads, qkv_bias=True, norm_layer=norm) for _ in range(depth))
        self.norm, self.predict = norm(width), torch.nn.Linear(width, params["predict"]["kernel"].shape[1])
        self.double()
        self.names = _decoder_names(depth)
        with torch.no_grad():
            for ours, theirs in self.names.items():
                layer, module = _leaf(params, ours), self.get_submodule(theirs)
                module.weight.copy_(torch.tensor(layer["kernel"].T if "kernel" in layer else layer["scale"]))
                module.bias.copy_(torch.tensor(layer["bias"]))

    def gradients(self) -> dict[str, np.ndarray]:
        """Gradients by our names."""
        found = {"mask_token": self.mask_token.grad.numpy()[None]}
        for ours, theirs in self.names.items():
            module = self.get_submodule(theirs)
            matrix = isinstance(module, torch.nn.Linear)
            found[f"{ours}/{'kernel' if matrix else 'scale'}"] = module.weight.grad.numpy().T if matrix else module.weight.grad.numpy()
            found[f"{ours}/bias"] = module.bias.grad.numpy()
        return found


def sine_cosine(row: int, column: int, width: int) -> torch.Tensor:
    """The position of one place: sines, then cosines of its column, then of its row."""
    frequencies = 10_000.0 ** (-np.arange(width // 4) / (width // 4))
    parts = [wave(place * frequencies) for place in (column, row) for wave in (np.sin, np.cos)]
    return torch.tensor(np.concatenate(parts))


def masked_autoencoder(encoder, decoder: Decoder, image: np.ndarray, keep: np.ndarray, patch: int) -> torch.Tensor:
    """The loss of images [B, H, W, C] of which ``keep`` [B, n] names the visible patches; targets are normalised patch by patch."""
    rows, columns = image.shape[1] // patch, image.shape[2] // patch
    errors = []
    for picture, kept in zip(image, keep, strict=True):
        cells = [
            torch.tensor(picture[row * patch : (row + 1) * patch, column * patch : (column + 1) * patch])
            for row in range(rows)
            for column in range(columns)
        ]
        tokens = [encoder.cls_token[0, 0] + encoder.pos_embed[0, 0]]
        for place in kept:
            pixels = cells[place].permute(2, 0, 1)
            token = torch.einsum("dcij,cij->d", encoder.patch_embed.proj.weight, pixels) + encoder.patch_embed.proj.bias
            tokens.append(token + encoder.pos_embed[0, 1 + place])
        x = torch.stack(tokens)[None]
        for block in encoder.blocks:
            x = block(x)
        seen = decoder.embed(encoder.norm(x))[0]
        width = seen.shape[-1]
        whole = [seen[0]]
        for place in range(rows * columns):
            token = seen[1 + list(kept).index(place)] if place in kept else decoder.mask_token
            whole.append(token + sine_cosine(place // columns, place % columns, width))
        y = torch.stack(whole)[None]
        for block in decoder.blocks:
            y = block(y)
        predicted = decoder.predict(decoder.norm(y))[0, 1:]
        for place in set(range(rows * columns)) - set(kept.tolist()):
            target = cells[place].reshape(-1)
            target = (target - target.mean()) / torch.sqrt(target.var(unbiased=True) + 1e-6)
            errors.append(((predicted[place] - target) ** 2).mean())
    return torch.stack(errors).mean()
