"""The osteoclast patches of a batch that nuclei are to be found in."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noise_mm.coco.pseudo_file import NUCLEUS
from noise_mm.datasets.coco_patches import parse_coco
from noise_mm.datasets.patch_images import require_files
from noise_mm.errors import InputError
from noise_mm.files import read_json


@dataclass(frozen=True)
class BatchPatches:
    """A batch folder with osteoclasts.

    Attributes:
        batch: Its name.
        folder: Where it is.
        annotated: The content of its `annotations.json`.
    """

    batch: str
    folder: Path
    annotated: dict[str, Any]

    @property
    def annotations_file(self) -> Path:
        """The file of the osteoclasts."""
        return self.folder / 'annotations.json'

    @property
    def records(self) -> list[dict]:
        """For each patch what a test pipeline starts from, as the datasets give it; without objects."""
        return [
            {'batch': self.batch, **image, 'img_path': path, 'img_id': image['id'], 'instances': []}
            for image, path in zip(self.annotated['images'], self.image_paths, strict=True)
        ]

    @property
    def image_paths(self) -> list[str]:
        """The files of the patches, in the order of the annotation."""
        return [str(self.folder / image['file_name']) for image in self.annotated['images']]


def read_batches(data_root: str | Path, batches: Iterable[str]) -> tuple[list[BatchPatches], list[str]]:
    """Read and check the batches that are there.

    Returns:
        The batches, and the names of those without a folder.

    Raises:
        InputError: If a folder has no annotation, a faulty one or that of another batch, or a patch is missing.
    """
    found, missing = [], []
    for batch in dict.fromkeys(batches):
        folder = Path(data_root) / batch
        if folder.is_dir():
            found.append(read_batch_patches(folder, batch))
        else:
            missing.append(batch)
    return found, missing


def read_batch_patches(folder: Path, batch: str) -> BatchPatches:
    """Read and check one batch folder; see `read_batches`."""
    path = folder / 'annotations.json'
    annotated = read_json(path)
    categories = annotated.get('categories') if isinstance(annotated, dict) else None
    names = [each.get('name') for each in categories or [] if isinstance(each, dict)]
    images = parse_coco(annotated, str(path), [name for name in names if name not in (NUCLEUS, None)])
    if not images:
        raise InputError(f'{path}: has no images. Extract the batch again.')
    others = {str(image.get('batch', batch)) for image in images} - {batch}
    if others:
        raise InputError(f'{path}: holds images of batch {min(others)} and not of {batch}. Rename the folder.')
    patches = BatchPatches(batch, folder, annotated)
    require_files(patches.image_paths)
    return patches
