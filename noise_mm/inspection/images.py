"""Decodes every patch on all cores and checks that it is complete and of the annotated size."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from noise_mm.coco import issues as kinds
from noise_mm.coco.issues import Issue
from noise_mm.errors import InputError
from noise_mm.inspection.annotation_files import Part, reason
from noise_mm.inspection.patch_entries import Patch
from noise_mm.slides.slide import open_slide


class Picture(NamedTuple):
    """A patch that was decoded.

    Attributes:
        part: Name of the folder that it is in.
        patch: Its entry.
        digest: Equal for equal pixels, whatever the file format; None where all pixels are the same, as in patches
            that show nothing but background, which may well be equal.
    """

    part: str
    patch: Patch
    digest: bytes | None

    @property
    def place(self) -> str:
        """Folder and file name."""
        return f'{self.part}/{self.patch.file_name}'


def check_images(part: Part, patches: Sequence[Patch], workers: int) -> Iterator[Picture | Issue]:
    """Decode the patches of a part; yield a picture or an issue for each, in their order.

    Threads suffice: decoding and hashing are done outside the interpreter's lock. Decoding is stricter than OpenCV's,
    which fills up what is missing.

    Args:
        part: Where they are.
        patches: The patches.
        workers: Number of threads.
    """
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(lambda patch: _check_image(part, patch), patches)


def unlisted_images(part: Part, patches: Iterable[Patch]) -> list[Issue]:
    """Return a note for each file that the annotation file does not list, hidden files excepted."""
    folder = part.image_dir / 'images'
    listed = {patch.file_name for patch in patches}
    files = sorted(path.name for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
    return [
        Issue(kinds.UNLISTED_IMAGE, f'{part.name}/images/{name}', f'not listed in {part.place}')
        for name in files
        if f'images/{name}' not in listed and not name.startswith('.')
    ]


def _check_image(part: Part, patch: Patch) -> Picture | Issue:
    path, place = part.image_dir / patch.file_name, f'{part.name}/{patch.file_name}'
    if not path.is_file():
        return Issue(kinds.MISSING_IMAGE, place, f'listed in {part.place} as image {patch.image_id}, but not there')
    try:
        with open_slide(path) as slide:
            pixels = slide.read(0, 0, slide.width_px, slide.height_px)
    except InputError as error:
        return Issue(kinds.CORRUPT_IMAGE, place, reason(error, path))
    height, width = pixels.shape[:2]
    if (width, height) != (patch.width, patch.height):
        what = f'{width} x {height} px, annotated as {patch.width} x {patch.height} px (image {patch.image_id})'
        return Issue(kinds.WRONG_SIZE, place, what)
    is_plain = (pixels[0] == pixels[0, 0]).all() and (pixels == pixels[0, 0]).all()  # the first row mostly decides
    return Picture(part.name, patch, None if is_plain else hashlib.sha256(pixels).digest())
