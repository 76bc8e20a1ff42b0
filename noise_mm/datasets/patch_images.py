"""Reads patches, brings them to the size of the network, and keeps them in memory where that is wished."""

import multiprocessing
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import psutil
from mmengine.dist import get_world_size
from mmengine.logging import print_log

from noise_mm.errors import InputError
from noise_mm.formats.png import without_metadata
from noise_mm.progress import Progress

# What `cache='auto'` may take of the memory that is free when the dataset is read.
AUTO_SHARE = 0.5

# Where loader processes are not forked, each holds a copy of the cache. Four of them and the training process.
COPIES_WITHOUT_FORK = 5


def read_patch(path: str | Path) -> np.ndarray:
    """A patch as (height, width, 3) uint8 in the order blue, green, red.

    Raises:
        InputError: If the file is missing or not a whole image.
    """
    try:
        content = np.frombuffer(without_metadata(Path(path).read_bytes()), np.uint8)
    except OSError as error:
        raise InputError(f'{path}: cannot be read ({error.strerror or error}). Check the dataset folder.') from error
    image = cv2.imdecode(content, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION) if content.size else None
    if image is None:
        raise InputError(f'{path}: not an image, or a truncated one. Copy or extract it again.')
    return image


def require_files(paths: Iterable[str | Path]) -> None:
    """Checks that image files are there; a folder is listed once, not asked for each file.

    Raises:
        InputError: If one is missing.
    """
    by_folder: dict[Path, set[str]] = {}
    for path in map(Path, paths):
        by_folder.setdefault(path.parent, set()).add(path.name)
    missing = []
    for folder, names in by_folder.items():
        there = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
        missing += [folder / name for name in sorted(names - there)]
    if missing:
        more = f' (and {len(missing) - 1} more)' if len(missing) > 1 else ''
        raise InputError(f'{missing[0]}: is annotated but missing{more}. Copy it there, or extract the batch again.')


def fit_within(image: np.ndarray, size_px: int) -> np.ndarray:
    """The image enlarged or shrunk, in proportion, until its longer side is `size_px`.

    Shrinking averages over areas, so that no detail is sampled by chance; for the usual factor of two that is the
    mean of 2 x 2 pixels, as in Ultralytics.
    """
    height, width = image.shape[:2]
    scale = size_px / max(height, width)
    if scale == 1:
        return image
    new_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, new_wh, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def bytes_in_memory(count: int, size_px: int) -> int:
    """Return the memory of `count` decoded patches whose longer side is `size_px`, at most: 3 bytes per pixel."""
    return 3 * size_px**2 * count


def has_room(count: int, size_px: int) -> bool:
    """Return whether `cache='auto'` keeps the patches of a dataset in memory, and log why.

    All copies together may take `AUTO_SHARE` of the free memory: one for each process of a distributed training, and
    of its loader processes where they are not forked (Windows, macOS).

    Args:
        count: Number of patches.
        size_px: Longer side of the patches in the cache.
    """
    copies = get_world_size()
    start_method = multiprocessing.get_start_method(allow_none=True) or multiprocessing.get_all_start_methods()[0]
    if start_method != 'fork':
        copies *= COPIES_WITHOUT_FORK
    needed, free = bytes_in_memory(count, size_px) * copies, psutil.virtual_memory().available
    fits = needed <= AUTO_SHARE * free
    print_log(
        f"cache='auto': {count} patches of {size_px} px need {needed / 1e9:.2f} GB in {copies} copies, "
        f'{free / 1e9:.1f} GB are free: {"kept in memory" if fits else "read from disk each time"}',
        logger='current',
    )
    return fits


class PatchCache:
    """All patches of a dataset in memory, decoded and at the size of the network.

    A patch takes 3 bytes a pixel: 0.52 MB at 416 x 416. Forked dataloader workers share the memory, because nobody
    writes to it; workers that are spawned, and other ranks, hold a copy each.
    """

    def __init__(self, patches: Mapping[int, np.ndarray]) -> None:
        self._patches = patches

    @classmethod
    def read(cls, paths: Mapping[int, str], size_px: int) -> 'PatchCache':
        """Reads all patches, on all processor cores, with a progress bar.

        Args:
            paths: The file of each image id.
            size_px: Longer side of the patches in the cache.

        Raises:
            InputError: If the patches don't fit into the computer's memory, or one cannot be read.
        """
        needed = bytes_in_memory(len(paths), size_px)
        there = psutil.virtual_memory().total
        if needed > there:
            raise InputError(
                f"cache='ram': {len(paths)} patches of {size_px} px need {needed / 1e9:.1f} GB and this computer has "
                f"{there / 1e9:.1f} GB. Set cache='none'."
            )
        print_log(f'reading {len(paths)} patches into memory: {needed / 1e6:.0f} MB', logger='current')
        patches = {}
        with ThreadPoolExecutor(os.cpu_count()) as pool, Progress('reading', len(paths)) as progress:
            images = pool.map(lambda path: fit_within(read_patch(path), size_px), paths.values())
            for image_id, image in zip(paths, images, strict=True):
                patches[image_id] = image
                progress.update()
        return cls(patches)

    def __getitem__(self, image_id: int) -> np.ndarray:
        """A copy of the patch, which the caller may change."""
        return self._patches[image_id].copy()

    def __deepcopy__(self, memo: dict) -> 'PatchCache':
        """Itself: nothing in it changes, and MMEngine copies datasets to make subsets."""
        return self
