"""Datasets and training transforms, registered in MMYOLO's registries by importing this package."""

from noise_mm.datasets.packing import PackPatch, collate_patches, collate_with_ignored
from noise_mm.datasets.patch_datasets import NucleiDataset, OsteoclastDataset, OsteoclastNucleiDataset
from noise_mm.datasets.stain_jitter import StainJitter
from noise_mm.datasets.transforms import (
    DrawTargetMasks,
    FitPatch,
    LoadPatch,
    LoadTargets,
    PatchAffine,
    PatchMosaic,
    RandomQuarterTurn,
)
