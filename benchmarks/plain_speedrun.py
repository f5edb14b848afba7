"""A plain PyTorch implementation of ``experiments.speedrun_cifar10``: eager, channels last, with the images in memory."""

import torch
from torch import nn
from torch.nn import functional

WIDTHS = (64, 256, 256)


class Stage(nn.Module):
    """Convolution, pooling, convolution, with norms whose scales stay 1."""

    def __init__(self, before: int, after: int):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm1, self.norm2 = (nn.BatchNorm2d(after, eps=1e-12, momentum=0.4) for _ in range(2))
        self.norm1.weight.requires_grad = self.norm2.weight.requires_grad = False

    def forward(self, x):
        """[B, C, H, W] -> [B, D, H / 2, W / 2]."""
        x = functional.gelu(self.norm1(functional.max_pool2d(self.conv1(x), 2)))
        return functional.gelu(self.norm2(self.conv2(x)))


class SpeedNet(nn.Module):
    """The whitening layer, three stages, the head."""

    def __init__(self, num_classes: int = 10):
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 2)
        self.stem.weight.requires_grad = False
        self.stage1, self.stage2, self.stage3 = (Stage(before, after) for before, after in zip((24, *WIDTHS[:-1]), WIDTHS, strict=True))
        self.head = nn.Linear(WIDTHS[-1], num_classes, bias=False)

    def logits(self, image):
        """[B, 3, 32, 32] -> [B, K]."""
        x = self.stage3(self.stage2(self.stage1(functional.gelu(self.stem(image)))))
        return self.head(functional.max_pool2d(x, 3).flatten(1)) / WIDTHS[-1]

    def forward(self, image):
        """Logits; in evaluation the mean of the logits of the image and of its mirror image."""
        return self.logits(image) if self.training else (self.logits(image) + self.logits(image.flip(3))) / 2


def load(network: SpeedNet, params: dict) -> None:
    """Copy our weights to the PyTorch modules of the same names."""
    with torch.no_grad():
        for name, module in network.named_modules():
            ours = params
            for part in name.split(".") if name else []:
                ours = ours[part]
            for here, there in (("kernel", "weight"), ("scale", "weight"), ("bias", "bias")):
                if here in ours and not isinstance(ours[here], dict):
                    values = torch.tensor(ours[here])
                    values = values.permute(3, 2, 0, 1) if values.ndim == 4 else values.T if values.ndim == 2 else values
                    getattr(module, there).copy_(values)


def orthogonal(matrix, steps: int = 5):
    """Newton-Schulz iterations towards the nearest matrix with orthonormal rows or columns."""
    a, b, c = 3.4445, -4.7750, 2.0315
    turned = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if turned else matrix
    x = x / (x.norm() + 1e-8)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if turned else x


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum and bias correction; each kernel [D, ...] is normalized to sqrt(D)."""

    def __init__(self, parameters, lr: float, beta: float):
        super().__init__(parameters, {"lr": lr, "beta": beta})
        self.count = 0

    @torch.no_grad()
    def step(self):
        """One update of every kernel."""
        self.count += 1
        for group in self.param_groups:
            beta = group["beta"]
            for kernel in group["params"]:
                mean = self.state[kernel].setdefault("mean", torch.zeros_like(kernel)).lerp_(kernel.grad, 1 - beta)
                update = beta * mean / (1 - beta ** (self.count + 1)) + (1 - beta) * kernel.grad / (1 - beta**self.count)
                update = orthogonal(update.flatten(1)).view_as(kernel) * max(1, len(kernel) / kernel[0].numel()) ** 0.5
                kernel -= group["lr"] * update
                kernel *= len(kernel) ** 0.5 / kernel.norm()


class Training:
    """Network and optimizers of a run of ``steps`` steps on normalized images [N, 3, 32, 32] in batches of ``batch_size``."""

    def __init__(self, network: SpeedNet, image, label, *, steps: int, batch_size: int, whitening_steps: int, rates: dict, decay: float):
        self.network, self.label, self.steps, self.count = network, label, steps, 0
        self.image = functional.pad(image, (2, 2, 2, 2), mode="reflect")
        self.mirrored_first = torch.rand(len(image), device=image.device) < 0.5
        kernels = [module.weight for name, module in network.named_modules() if "conv" in name]
        biases = [module.bias for name, module in network.named_modules() if "norm" in name]
        self.muon = Muon(kernels, rates["rate"], beta=0.6)
        groups = (([network.stem.bias], rates["bias_rate"]), (biases, rates["bias_rate"]), ([network.head.weight], rates["head_rate"]))
        self.sgd = torch.optim.SGD(
            [{"params": those, "lr": rate * batch_size, "weight_decay": decay / (rate * batch_size)} for those, rate in groups],
            momentum=0.85,
            nesterov=True,
        )
        self.lengths = [whitening_steps, steps, steps]
        self.first = [group["lr"] for group in (*self.sgd.param_groups, *self.muon.param_groups)]

    def views(self, index, epoch):
        """The images at ``index``, shifted by up to two pixels, half of them mirrored."""
        image, size = self.image[index], 32
        moved = torch.empty(len(index), 3, size, size, device=image.device)
        down, right = (torch.randint(0, 5, (len(index),), device=image.device) for _ in range(2))
        for row in range(5):
            for column in range(5):
                chosen = (down == row) & (right == column)
                moved[chosen] = image[chosen, :, row : row + size, column : column + size]
        flip = (self.mirrored_first[index].long() + epoch) % 2 == 1
        return torch.where(flip[:, None, None, None], moved.flip(3), moved)

    def step(self, view, label):
        """One update on prepared images; returns the loss."""
        for group, first, length in zip(
            (*self.sgd.param_groups, *self.muon.param_groups), self.first, (*self.lengths, self.steps), strict=True
        ):
            group["lr"] = first * max(0.0, 1 - self.count / length)
        self.count += 1
        self.network.train()
        loss = functional.cross_entropy(self.network(view.contiguous(memory_format=torch.channels_last)), label, label_smoothing=0.2)
        for optimizer in (self.sgd, self.muon):
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for optimizer in (self.sgd, self.muon):
            optimizer.step()
        return loss.detach()
