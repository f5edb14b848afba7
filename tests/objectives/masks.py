"""Which patches a masked autoencoder hid, read from its images."""

import numpy as np

import jaxvision as jv


def hidden_patches(pictures, patch_size: int) -> np.ndarray:
    """[B, N] bool: where ``masked`` differs from ``original``."""
    difference = np.abs(np.asarray(pictures.masked) - np.asarray(pictures.original))
    return np.asarray(jv.objectives.patchify(difference, patch_size)).max(-1) > 0


def as_pixels(hidden: np.ndarray, patch_size: int, grid: tuple[int, int]) -> np.ndarray:
    """A mask of patches [B, N] as one of the values of RGB images [B, H, W, 3]."""
    return np.asarray(jv.objectives.unpatchify(np.repeat(hidden[..., None], 3 * patch_size**2, -1), patch_size, grid))
