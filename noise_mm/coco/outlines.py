"""Outlines of one image of a COCO file, as any program may have written it.

`iscrowd` means a region to ignore, but CVAT and Datumaro set it for everything that was drawn with a brush, and
supervision for every mask that has a hole or several parts. Read as the standard has it, such files hold no cells.
Hence, in files of other programs: where all annotations have it, they are cells, and a note says so; where only some
have it, the user must choose.
"""

from collections.abc import Callable
from pathlib import Path, PurePosixPath

from noise_mm.coco.file_issues import OutlineCollector
from noise_mm.coco.reader import CocoAnnotation, CocoContent, CocoImage
from noise_mm.coco.segmentation import geometry_from_segmentation
from noise_mm.errors import InputError
from noise_mm.geometry.outline import Outline

REMEDY = 'Export the COCO file again or correct these annotations.'
CROWD_CHOICES = ('cells', 'ignore')


def coco_outlines(
    content: CocoContent,
    path: str | Path,
    size_px: tuple[int, int] | None = None,
    file_name: str | None = None,
    *,
    repair: bool = True,
    crowd: str | None = None,
    notes: list[str] | None = None,
    key: Callable[[str], str] = str,
) -> list[Outline]:
    """Return the outlines of one image, in the order of the file.

    Args:
        content: What is in the file.
        path: The file, for messages.
        size_px: Width and height of the image, if known, to check that the file was made for it.
        file_name: Which image; may be left out if the file has only one.
        repair: Whether self-crossing outlines are repaired (with a note) or issues.
        crowd: What `iscrowd` means: 'cells' or 'ignore'; None decides as the module says.
        notes: Takes what was assumed or changed.
        key: What of a file name tells images apart, such as the name of the well.

    Raises:
        InputError: If entries are damaged, annotations have no segmentation or outlines have no area or lie outside the
            image; if the image is not in the file or has another size; or if `iscrowd` is set for some only.
    """
    content.raise_if_any(str(path), remedy=REMEDY)
    image = image_named(content, path, file_name, key)
    collector = OutlineCollector(
        path, REMEDY, (image.width, image.height), repair, notes=[] if notes is None else notes
    )
    if size_px is not None and (image.width, image.height) != tuple(size_px):
        raise InputError(
            f'{path}: was made for {image.width} x {image.height} px, but the image has {size_px[0]} x {size_px[1]} '
            'px. Take the COCO file that belongs to the image.'
        )
    for note in content.notes:
        collector.note(note)
    crowd = crowd_meaning(content, collector) if crowd is None else crowd
    for annotation in content.annotations:
        if annotation.image is image:
            _add_annotation(collector, annotation, crowd)
    return collector.finish()


def image_named(content: CocoContent, path: str | Path, file_name: str | None, key: Callable[[str], str]) -> CocoImage:
    """Return the image of a file name, or the only one; by the whole name, else by `key` of its last part.

    Raises:
        InputError: If there is none, or there are several.
    """
    found = content.images
    if file_name is not None and len(found) > 1:
        same = [image for image in found if image.file_name == file_name]
        found = same or [image for image in found if key(base_name(image.file_name)) == key(base_name(file_name))]
    if len(found) != 1:
        which = f', {len(found)} of which are called {file_name!r}' if file_name else ''
        raise InputError(f'{path}: holds {len(content.images)} images{which}; say which one. {REMEDY}')
    return found[0]


def base_name(file_name: str) -> str:
    """Return the last part of an image's `file_name`, which may have folders of any system before it."""
    return PurePosixPath(file_name.replace('\\', '/')).name


def crowd_meaning(content: CocoContent, collector: OutlineCollector) -> str:
    """Return what `iscrowd` means in a file: 'cells' or 'ignore'.

    Raises:
        InputError: If that is not clear.
    """
    crowds, every = sum(annotation.is_crowd for annotation in content.annotations), len(content.annotations)
    if not crowds or content.is_own:
        return 'ignore'
    if crowds == every:
        collector.note(f'all {every} annotations are iscrowd, as CVAT writes masks; they are taken for cells')
        return 'cells'
    raise InputError(
        f'{collector.path}: {crowds} of {every} annotations are iscrowd, which means cells in files of CVAT or '
        'supervision, and regions to ignore in others. Choose with --iscrowd cells or --iscrowd ignore.'
    )


def _add_annotation(collector: OutlineCollector, annotation: CocoAnnotation, crowd: str) -> None:
    """Add the outline of one annotation to those of its image."""
    entry, (width, height) = annotation.entry, collector.size_px
    if not entry.get('segmentation'):
        collector.add(annotation.place, 'has no segmentation')
        return
    score = entry.get('score')
    if score is not None and not (isinstance(score, int | float) and -1e9 < score < 1e9):
        collector.add(annotation.place, f'has the score {score!r}')
        return
    try:
        geometry, crossing = geometry_from_segmentation(entry['segmentation'], height, width)
    except ValueError as error:
        collector.add(annotation.place, str(error))
        return
    if crossing:
        collector.note_crossing(annotation.place, geometry)
    attributes = entry.get('attributes')
    name = (attributes.get('name') if isinstance(attributes, dict) else None) or entry.get('name') or ''
    collector.add_geometry(
        annotation.place,
        geometry,
        name=str(name),
        label=annotation.category,
        score=None if score is None else float(score),
        ignored=bool(entry.get('ignore')) or (annotation.is_crowd and crowd == 'ignore'),
    )
