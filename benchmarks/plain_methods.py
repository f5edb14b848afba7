"""Plain PyTorch implementations of SimCLR, MAE and DINO: eager, with transforms that run sample by sample.

Each is a module whose ``loss(views)`` takes a list of image tensors [B, C, H, W], with the parameter names of the published code,
which ``jv.weights.method_from_torch`` reads.
"""

import copy
import functools

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks import reference
from jaxvision.layers import blocked_grid_position

TEMPERATURE = 0.5
HEAD = {"hidden": 2048, "bottleneck": 256}


def _vit_small(size: int):
    import timm

    return timm.create_model("vit_small_patch16_224", num_classes=0, img_size=size, dynamic_img_size=True)


def _drawn(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape) * 0.02)


def nt_xent(z1: torch.Tensor, z2: torch.Tensor) -> torch.Tensor:
    """The loss of SimCLR for two views [B, D], with the complete similarity matrix in memory."""
    views = functional.normalize(torch.cat([z1, z2]), dim=1)
    scores = views @ views.T / TEMPERATURE
    scores = scores.masked_fill(torch.eye(len(views), dtype=torch.bool, device=views.device), -torch.inf)
    return functional.cross_entropy(scores, torch.arange(len(views), device=views.device).roll(len(z1)))


def dino(student: torch.Tensor, teacher: torch.Tensor, center: torch.Tensor) -> torch.Tensor:
    """The loss of DINO for all logits [V, B, K] and [G, B, K]; no gradient for the teacher."""
    with torch.no_grad():
        target = torch.softmax((teacher - center) / 0.04, dim=-1)
    log_p = torch.log_softmax(student / 0.1, dim=-1)
    pairs = [-(target[g] * log_p[v]).sum(-1).mean() for g in range(len(target)) for v in range(len(log_p)) if g != v]
    return torch.stack(pairs).mean()


class SimCLR(nn.Module):
    """ResNet-18 with the stem for small images, and a projector."""

    def __init__(self):
        super().__init__()
        self.backbone = reference.torchvision().models.resnet18()
        self.backbone.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.backbone.maxpool, self.backbone.fc = nn.Identity(), nn.Identity()
        norms = nn.BatchNorm1d(512), nn.BatchNorm1d(128)
        layers = nn.Linear(512, 512, bias=False), norms[0], nn.ReLU(), nn.Linear(512, 128, bias=False), norms[1]
        self.projection_head = nn.Module()
        self.projection_head.layers = nn.Sequential(*layers)

    def loss(self, views: list) -> torch.Tensor:
        return nt_xent(*self.projection_head.layers(self.backbone(torch.cat(views))).chunk(2))


class MAE(nn.Module):
    """ViT-S/16 on the patches ``keep`` [B, n], and the decoder of the paper with 8 blocks of width 512."""

    def __init__(self, size: int):
        super().__init__()
        from timm.models.vision_transformer import Block

        vit = _vit_small(size)
        self.patch_embed, self.cls_token, self.blocks, self.norm = vit.patch_embed, vit.cls_token, vit.blocks, vit.norm
        side, width = size // 16, vit.embed_dim

        def table(width: int) -> torch.Tensor:
            return torch.from_numpy(np.pad(np.asarray(blocked_grid_position(side, side, width)), ((1, 0), (0, 0)))[None])

        self.pos_embed = nn.Parameter(table(width), requires_grad=False)
        self.decoder_embed, self.mask_token = nn.Linear(width, 512), _drawn(1, 1, 512)
        self.decoder_pos_embed = nn.Parameter(table(512), requires_grad=False)
        norm = functools.partial(nn.LayerNorm, eps=1e-6)
        self.decoder_blocks = nn.ModuleList(Block(512, 16, qkv_bias=True, norm_layer=norm) for _ in range(8))
        self.decoder_norm, self.decoder_pred = nn.LayerNorm(512, eps=1e-6), nn.Linear(512, 16 * 16 * 3)

    def loss(self, views: list, keep: torch.Tensor | None = None) -> torch.Tensor:
        (image,) = views
        tokens = self.patch_embed(image).flatten(1, 2)  # [B, N, D]
        count = tokens.shape[1]
        if keep is None:
            keep = torch.rand(tokens.shape[:2], device=tokens.device).argsort(1)[:, : count // 4]
        place = keep[..., None].expand(-1, -1, tokens.shape[-1])
        seen = (tokens + self.pos_embed[:, 1:]).gather(1, place)
        first = (self.cls_token + self.pos_embed[:, :1]).expand(len(image), -1, -1)
        seen = self.decoder_embed(self.norm(self.blocks(torch.cat([first, seen], 1))))
        whole = self.mask_token.expand(len(image), count, -1).scatter(1, keep[..., None].expand(-1, -1, 512), seen[:, 1:])
        x = torch.cat([seen[:, :1], whole], 1) + self.decoder_pos_embed
        for block in self.decoder_blocks:
            x = block(x)
        prediction = self.decoder_pred(self.decoder_norm(x))[:, 1:]
        side = image.shape[-1] // 16
        target = image.reshape(len(image), 3, side, 16, side, 16).permute(0, 2, 4, 3, 5, 1).reshape(len(image), count, -1)
        target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6).sqrt()
        hidden = torch.ones(len(image), count, device=image.device).scatter(1, keep, 0.0)
        return ((prediction - target).square().mean(-1) * hidden).sum() / hidden.sum()


class _Head(nn.Module):
    def __init__(self, width: int, prototypes: int):
        super().__init__()
        hidden, bottleneck = HEAD["hidden"], HEAD["bottleneck"]
        layers = nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, bottleneck)
        self.mlp, self.last_layer = nn.Sequential(*layers), nn.Module()
        self.last_layer.weight_v = _drawn(prototypes, bottleneck)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return functional.normalize(self.mlp(rows), dim=-1) @ functional.normalize(self.last_layer.weight_v, dim=-1).T


class DINO(nn.Module):
    """ViT-S/16 as a student of its moving average: two large views for both, the small ones for the student."""

    def __init__(self, size: int, prototypes: int):
        super().__init__()
        self.backbone = _vit_small(size)
        self.head = _Head(self.backbone.embed_dim, prototypes)
        self.__dict__["teacher"] = None  # not a parameter
        self.__dict__["center"] = torch.zeros(prototypes)

    def loss(self, views: list) -> torch.Tensor:
        if self.teacher is None:
            self.__dict__["center"] = self.center.to(views[0].device)
            self.__dict__["teacher"] = copy.deepcopy(nn.ModuleList([self.backbone, self.head])).requires_grad_(False)
        with torch.no_grad():
            teacher = self.teacher[1](self.teacher[0](torch.cat(views[:2])))
            self.__dict__["next_center"] = 0.9 * self.center + 0.1 * teacher.mean(0)
        rows = [self.backbone(torch.cat(views[:2])), *([self.backbone(torch.cat(views[2:]))] if len(views) > 2 else [])]
        return dino(self.head(torch.cat(rows)).unflatten(0, (len(views), -1)), teacher.unflatten(0, (2, -1)), self.center)

    @torch.no_grad()
    def after(self) -> None:
        """Update the teacher and the centre after the student."""
        self.__dict__["center"] = self.next_center
        student = [*self.backbone.parameters(), *self.head.parameters()]
        for mine, new in zip(self.teacher.parameters(), student, strict=True):
            mine.mul_(0.996).add_(new, alpha=0.004)


def transforms(method: str, size: int, crops: int) -> list:
    """Transforms of torchvision for one image, uint8 [C, H, W] -> float; one for each view."""
    reference.torchvision()
    from torchvision.transforms import v2

    float_, normal = v2.ToDtype(torch.float32, scale=True), v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    cubic = v2.InterpolationMode.BICUBIC
    jitter = lambda *share: [v2.RandomApply([v2.ColorJitter(*share)], 0.8), v2.RandomGrayscale(0.2)]  # noqa: E731
    blur = lambda kernel, share: [v2.RandomApply([v2.GaussianBlur(kernel, (0.1, 2.0))], share)]  # noqa: E731
    if method == "simclr":
        view = v2.Compose([v2.RandomResizedCrop(size), v2.RandomHorizontalFlip(), *jitter(0.4, 0.4, 0.4, 0.1), float_])
        return [view, view]
    if method == "mae":
        return [v2.Compose([v2.RandomResizedCrop(size, (0.2, 1.0), interpolation=cubic), v2.RandomHorizontalFlip(), float_, normal])]

    def begin(side: int, scale: tuple[float, float]) -> list:
        crop = v2.RandomResizedCrop(side, scale, interpolation=cubic)
        return [crop, v2.RandomHorizontalFlip(), *jitter(0.4, 0.4, 0.2, 0.1)]

    first = v2.Compose([*begin(size, (0.4, 1.0)), *blur(13, 1.0), float_, normal])
    second = v2.Compose([*begin(size, (0.4, 1.0)), *blur(13, 0.1), v2.RandomSolarize(128, 0.2), float_, normal])
    small = v2.Compose([*begin(96, (0.05, 0.4)), *blur(13, 0.5), float_, normal])
    return [first, second, *[small] * crops]
