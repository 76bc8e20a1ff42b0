"""Small drawn datasets. Importing the package comes first: MMDetection needs it to import without compiled MMCV."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.registry import DefaultScope

import noise_mm.datasets  # noqa: F401
from noise_mm.coco.batch_folder import image_entry, write_batch

CLASS_IDS = {'osteoclast': 1, 'nucleus': 2}


def draw(shape: tuple[int, int], rings: Sequence[np.ndarray]) -> np.ndarray:
    """White outlines on black: each pixel as bright as the part of it that is inside (4 x 4 samples a pixel)."""
    height, width = shape
    fine = np.zeros((height * 4, width * 4), dtype=np.uint8)
    for ring in rings:
        # At whole numbers OpenCV has pixel centres, so the corner (0, 0) of the fine image is at (-0.5, -0.5).
        cv2.fillPoly(fine, [np.round(ring.reshape(-1, 2) * 4 - 0.5).astype(np.int32)], 255)
    return cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)


@pytest.fixture(autouse=True, scope='session')
def mmyolo_scope() -> DefaultScope:
    """Transforms are found by their short names, as when a config is run."""
    return DefaultScope.get_instance('tests', scope_name='mmyolo')


@pytest.fixture
def random_outline() -> Callable[..., np.ndarray]:
    """A concave outline x1, y1, x2, y2, ... inside a square of `size_px`."""

    def make(rng: np.random.Generator, size_px: float, radius_px: float) -> np.ndarray:
        angles = np.sort(rng.uniform(0, 2 * np.pi, 24))
        radii = radius_px * (1 + 0.4 * np.sin(3 * angles + rng.uniform(0, 6))) / 1.4
        centre = rng.uniform(radius_px, size_px - radius_px, 2)
        return (centre + np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)).reshape(-1)

    return make


@pytest.fixture
def make_batch(random_outline: Callable) -> Callable[..., Path]:
    """Writes a batch folder of drawn patches: `n_wells` wells of `per_well` patches with `n_cells` cells each."""

    def make(
        root: Path,
        batch: str,
        n_wells: int = 3,
        per_well: int = 2,
        n_cells: int = 4,
        size_px: int = 128,
        radius_px: float = 16,
        folder: str | None = None,
        category: str = 'osteoclast',
        **more: object,
    ) -> Path:
        rng = np.random.default_rng([ord(letter) for letter in batch])
        target = root / (folder or batch)
        (target / 'images').mkdir(parents=True, exist_ok=True)
        images, annotations = [], []
        for number in range(n_wells * per_well):
            well, name = f'well{number // per_well}', f'images/{batch}_{number}.png'
            outlines = [random_outline(rng, size_px, radius_px) for _ in range(n_cells)]
            picture = np.stack(
                [draw((size_px, size_px), [outline]) for outline in outlines] or [np.zeros((size_px,) * 2)]
            )
            cv2.imwrite(str(target / name), picture.max(0))
            place = {'batch': batch, 'well': well, 'x': 0, 'y': 0, 'mpp': 0.7784}
            images.append(image_entry(len(images) + 1, name, size_px, size_px, **place, **more))
            for outline in outlines:
                low, high = outline.reshape(-1, 2).min(0), outline.reshape(-1, 2).max(0)
                annotations.append(
                    {
                        'id': len(annotations) + 1,
                        'image_id': len(images),
                        'category_id': CLASS_IDS[category],
                        'iscrowd': 0,
                        'segmentation': [outline.tolist()],
                        'bbox': [*low.tolist(), *(high - low).tolist()],
                        'area': 1.0,
                    }
                )
        wells = [{'well': f'well{i}', 'width': 1, 'height': 1, 'mpp': None, 'source': ''} for i in range(n_wells)]
        write_batch(target, images, annotations, wells)
        return target

    return make
