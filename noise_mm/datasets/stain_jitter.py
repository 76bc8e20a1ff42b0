"""Stain augmentation: other strengths of the dyes in a patch, as another laboratory or another day would give."""

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmyolo.registry import TRANSFORMS

from noise_mm.errors import InputError

# Optical densities in red, green and blue (rows: haematoxylin, eosin, DAB) of Ruifrok and Johnston 2001.
STAINS_RGB = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
# Optical density (natural logarithm) of each of the 256 values; half a step keeps black finite.
DENSITIES = (-np.log((np.arange(256) + 0.5) / 255.5)).astype(np.float32)


@TRANSFORMS.register_module()
class StainJitter(BaseTransform):
    """Scale and shift the amount of each stain in a patch at random.

    How it works: a pixel's optical densities are written as amounts of three stains; each amount s becomes `a * s + b`,
    with a from [1 - sigma, 1 + sigma] and b from [-bias, bias], the same for the whole patch; the result is turned into
    intensities again. Three independent stains span all colours, so they need not be those of the image: TRAP's purple
    and brown move between them.

    After Tellez et al., "Whole-slide mitosis detection in H&E breast histology using PHH3 as a reference to train
    distilled stain-invariant convolutional networks", IEEE TMI 2018, doi:10.1109/TMI.2018.2820199, and "Quantifying the
    effects of data augmentation and stain color normalization in convolutional neural networks for computational
    pathology", Medical Image Analysis 2019, doi:10.1016/j.media.2019.101544.

    Args:
        stain_augmentation: Whether to do anything; the config's setting of that name.
        sigma: Largest relative change of an amount, below 1. Tellez et al. 2019 take 0.05 (light) and 0.2 (strong).
        bias: Largest change of an amount that is added, in optical density (natural logarithm).
        prob: Share of the patches that are changed.

    Raises:
        InputError: If an argument is out of range.
    """

    def __init__(
        self, stain_augmentation: bool = True, sigma: float = 0.2, bias: float = 0.05, prob: float = 1.0
    ) -> None:
        for name, value, allowed in (
            ('sigma', sigma, 0 <= sigma < 1),
            ('bias', bias, 0 <= bias < np.inf),
            ('prob', prob, 0 <= prob <= 1),
        ):
            if not allowed:
                raise InputError(
                    f'StainJitter: {name} is {value!r}. Give sigma in [0, 1), bias from 0 on, prob in [0, 1].'
                )
        self.stain_augmentation = stain_augmentation
        self.sigma = sigma
        self.bias = bias
        self.prob = prob

    def transform(self, results: dict) -> dict:
        """Change `img` (height, width, 3), uint8, BGR."""
        if self.stain_augmentation and np.random.uniform() < self.prob:
            scales = np.random.uniform(1 - self.sigma, 1 + self.sigma, 3)
            shifts = np.random.uniform(-self.bias, self.bias, 3)
            results['img'] = restain(results['img'], scales, shifts)
        return results


def restain(image: np.ndarray, scales: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Return an image with other amounts of the stains.

    Args:
        image: (height, width, 3) uint8, BGR.
        scales: (3,) factors of the amounts of haematoxylin, eosin and DAB.
        shifts: (3,) what is added to them, in optical density.
    """
    stains = STAINS_RGB[:, ::-1] / np.linalg.norm(STAINS_RGB, axis=1, keepdims=True)
    # With pixels as rows, density = amounts @ stains; so the new density is this times the old one, plus a constant.
    linear = np.linalg.inv(stains) @ np.diag(scales) @ stains  # (3, 3)
    affine = np.column_stack([linear.T, shifts @ stains])  # (3, 4), as OpenCV multiplies columns
    density = cv2.transform(DENSITIES[image], affine.astype(np.float32))
    return np.clip(255.5 * np.exp(-density), 0, 255).astype(np.uint8)
