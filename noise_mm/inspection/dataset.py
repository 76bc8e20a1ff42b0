"""Checks one annotation file of a dataset and fixes what is safe."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noise_mm.coco.issues import Issue
from noise_mm.errors import InputError
from noise_mm.files import replacing, write_json
from noise_mm.inspection.annotation_files import Part, PartContent, Role, read_part
from noise_mm.inspection.annotations import Labelled, check_annotations, check_empty_categories
from noise_mm.inspection.patch_entries import Patch, check_categories, check_patches, check_stored_split


@dataclass(frozen=True)
class CheckedPart:
    """The result of checking one annotation file; its outlines are not kept, because they are large.

    Attributes:
        part: The file.
        wells: Entries of wells.json.
        patches: Patches whose entries are complete.
        labelled: Annotations that can be counted.
        issues: What is wrong.
    """

    part: Part
    wells: list[dict[str, Any]]
    patches: list[Patch]
    labelled: list[Labelled]
    issues: list[Issue]


def check_part(part: Part) -> CheckedPart:
    """Read a part and check its entries; the images themselves are checked by `check_images`."""
    return _checked(part)[0]


def fix_part(part: Part) -> tuple[CheckedPart, list[Issue]]:
    """Check a part after fixing in its file what is safe; the file as it was is kept beside it (`backup_path`).

    Returns:
        What is still wrong, and what was fixed.

    Raises:
        InputError: If the folder can't be written to.
    """
    checked, content, annotations = _checked(part)
    fixed = [issue for issue in checked.issues if issue.fixable]
    if content is None or not fixed:
        return checked, []
    copy_to_backup(part.annotation_file)
    write_json(part.annotation_file, {**content.dataset, 'annotations': annotations})
    return check_part(part), fixed


def copy_to_backup(path: Path) -> Path:
    """Copy a file to the first of `<name>.bak`, `<name>.bak2`, ... that is free, whole or not at all.

    The suffix keeps the copy from being read as a further file of the dataset.

    Raises:
        InputError: If the folder can't be written to.
    """
    number = 1
    while (target := path.with_name(f'{path.name}.bak{number if number > 1 else ""}')).exists():
        number += 1
    with replacing(target) as temporary:
        try:
            shutil.copyfile(path, temporary)
        except OSError as error:
            raise InputError(f'{target}: cannot be written ({error.strerror or error}). Make room there.') from error
    return target


def _checked(part: Part) -> tuple[CheckedPart, PartContent | None, list[Any]]:
    """Return the checked part, its content, and its annotations as `--fix` writes them."""
    content, found = read_part(part)
    if content is None:
        return CheckedPart(part, [], [], [], found), None, []
    patches, of_patches = check_patches(part, content)
    checked = check_annotations(part, content, patches)
    found = [*found, *of_patches, *check_categories(part, content), *checked.found]
    found += check_empty_categories(part, content.coco.categories, checked.labelled)
    if part.role is Role.NUCLEI:
        found += check_stored_split(part, patches)
    return CheckedPart(part, content.wells, patches, checked.labelled, found), content, checked.fixed
