"""Whole steps of DINO and BYOL in PyTorch, float64, after the papers' pseudo-code: nets, losses, centre, moving averages, gradient descent.

A tree of parameters is {module: {layer: {name: tensor}}}, as ours is; statistics are recomputed from every batch, as in training.
"""

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: whole steps of DINO and BYOL are NOT compared with it")


def tensors(tree):
    """A tree of arrays as one of float64 tensors."""
    return {name: tensors(part) for name, part in tree.items()} if isinstance(tree, dict) else torch.tensor(tree, dtype=torch.float64)


def leaves(tree) -> list:
    return [leaf for part in tree.values() for leaf in leaves(part)] if isinstance(tree, dict) else [tree]


def mapped(function, *trees):
    if isinstance(trees[0], dict):
        return {name: mapped(function, *(tree[name] for tree in trees)) for name in trees[0]}
    return function(*trees)


def dense(layer, x):
    return x @ layer["kernel"] + layer.get("bias", 0)


def batch_norm(layer, x):
    return (x - x.mean(0)) / torch.sqrt(x.var(0, unbiased=False) + 1e-5) * layer["scale"] + layer["bias"]


def encoder(params, images):
    """[B, H, W, C] -> [B, D]: the net of the tests: a dense layer a pixel, tanh, the mean, a norm over the batch."""
    return batch_norm(params["norm"], torch.tanh(dense(params["stem"], images)).mean((1, 2)))


def projector(params, rows):
    return dense(params["dense2"], torch.relu(batch_norm(params["norm1"], dense(params["dense1"], rows))))


def dino_head(params, rows):
    """Logits over prototypes (Caron et al., 2021, appendix C)."""
    for name in ("dense1", "dense2"):
        rows = torch.nn.functional.gelu(dense(params[name], rows))
    rows = torch.nn.functional.normalize(dense(params["dense3"], rows), dim=-1)
    return rows @ torch.nn.functional.normalize(params["prototypes"], dim=-1).T


def in_groups(net, groups) -> list:
    """The outputs a view of ``net`` on every group [B, V, H, W, C] of views, a group at a time."""
    outputs = []
    for views in groups:
        rows = net(views.flatten(0, 1)).unflatten(0, views.shape[:2])
        outputs += list(rows.unbind(1))
    return outputs


def descend(params, loss, rate: float):
    """Gradient descent of a tree whose leaves require gradients."""
    grads = iter(torch.autograd.grad(loss, leaves(params)))
    return mapped(lambda leaf: (leaf - rate * next(grads)).detach(), params)


def average(teacher, student, momentum: float):
    return mapped(lambda old, new: momentum * old + (1 - momentum) * new, teacher, student)


def dino(params, views, crops, momenta, *, rate, student_temperature, teacher_temperatures, center_momentum):
    """(student, teacher, centre, losses) after a step for each of ``momenta``, on one batch."""
    params, views, crops = tensors(params), torch.tensor(views, dtype=torch.float64), torch.tensor(crops, dtype=torch.float64)
    teacher, center, losses = params, torch.zeros(len(params["head"]["prototypes"]), dtype=torch.float64), []
    for momentum, sharp in zip(momenta, teacher_temperatures, strict=True):
        params = mapped(lambda leaf: leaf.requires_grad_(), mapped(torch.clone, params))
        seen = in_groups(lambda images, params=params: dino_head(params["head"], encoder(params["encoder"], images)), [views, crops])
        with torch.no_grad():
            outputs = in_groups(lambda images, own=teacher: dino_head(own["head"], encoder(own["encoder"], images)), [views])
        terms = []
        for place_teacher, logits in enumerate(outputs):
            target = torch.softmax((logits - center) / sharp, -1)
            for place, own in enumerate(seen):
                if place != place_teacher:
                    terms.append(-(target * torch.log_softmax(own / student_temperature, -1)).sum(-1).mean())
        loss = sum(terms) / len(terms)
        params = descend(params, loss, rate)
        center = center_momentum * center + (1 - center_momentum) * torch.cat(outputs).mean(0)
        teacher = average(teacher, params, momentum)
        losses.append(float(loss.detach()))
    return params, teacher, center, losses


def byol(params, views, momenta, *, rate):
    """(student, teacher, losses) after a step for each of ``momenta``, on one batch; the sum of both directions."""
    params, views, losses = tensors(params), torch.tensor(views, dtype=torch.float64), []
    teacher = {name: params[name] for name in ("encoder", "projector")}

    def project(own, images):
        return projector(own["projector"], encoder(own["encoder"], images))

    for momentum in momenta:
        params = mapped(lambda leaf: leaf.requires_grad_(), mapped(torch.clone, params))
        outputs = in_groups(lambda images, own=params: projector(own["predictor"], project(own, images)), [views])
        with torch.no_grad():
            targets = in_groups(lambda images, own=teacher: project(own, images), [views])
        similar = torch.nn.functional.cosine_similarity
        loss = sum((2 - 2 * similar(outputs[place], targets[1 - place])).mean() for place in (0, 1))
        params = descend(params, loss, rate)
        teacher = average(teacher, {name: params[name] for name in teacher}, momentum)
        losses.append(float(loss.detach()))
    return params, teacher, losses
