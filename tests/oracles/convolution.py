"""Convolution written from its definition in float64 numpy, one output pixel at a time."""

import numpy as np


def conv2d(image, kernel, *, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups: int = 1) -> np.ndarray:
    """out[b, y, x, d] = sum over i, j, c of image[b, y s - p + i r, x s - p + j r, c] kernel[i, j, c, d], group by group."""
    rows, columns = padding
    image = np.pad(np.asarray(image, np.float64), ((0, 0), (rows, rows), (columns, columns), (0, 0)))
    kernel = np.asarray(kernel, np.float64)
    height, width, channels, features = kernel.shape
    reach = [dilation[0] * (height - 1) + 1, dilation[1] * (width - 1) + 1]
    out = np.zeros((len(image), (image.shape[1] - reach[0]) // stride[0] + 1, (image.shape[2] - reach[1]) // stride[1] + 1, features))
    for y in range(out.shape[1]):
        for x in range(out.shape[2]):
            top, left = y * stride[0], x * stride[1]
            window = image[:, top : top + reach[0] : dilation[0], left : left + reach[1] : dilation[1]]
            for feature in range(features):
                group = feature // (features // groups)
                seen = window[..., group * channels : (group + 1) * channels]
                out[:, y, x, feature] = np.sum(seen * kernel[..., feature], axis=(1, 2, 3))
    return out
