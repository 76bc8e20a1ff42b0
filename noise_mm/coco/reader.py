"""The one reader and checker of COCO datasets: what is in a file, and every issue that it has. Pure; no files.

Everything that reads COCO annotations begins here: `formats.read` (outlines of wells), `datasets` (training records),
`evaluation` (scores), `pseudo_labels`, `figures` and `inspection` (the report on a dataset). Each decides which issues
it can't live with; what a segmentation stands for is read by `coco.segmentation` when it is needed.

Other programs write the standard in their own ways. Read with a note are ids of another type than what they refer to
(VIA 2: "0" for 0), whole sizes written as floats, and segmentations that are one flat list of numbers.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from noise_mm.coco import issues as kinds
from noise_mm.coco.file_issues import first_of
from noise_mm.coco.issues import Issue, Kind
from noise_mm.coco.segmentation import is_flat
from noise_mm.errors import InputError
from noise_mm.geometry.outline import LARGEST_PX

LISTS = ('images', 'annotations', 'categories')
REMEDY = 'data_prep/validate_dataset.py lists all issues of a dataset.'

Id = int | str


class CocoImage(NamedTuple):
    """One image of a COCO file.

    Attributes:
        id: Its id.
        file_name: Its file.
        width: In pixels.
        height: In pixels.
        entry: Its entry in the file.
    """

    id: Id
    file_name: str
    width: int
    height: int
    entry: Mapping[str, Any]


class CocoAnnotation(NamedTuple):
    """One annotation of a COCO file.

    Attributes:
        place: What messages call it, such as `annotation 5`.
        image: Its image; None where that is unknown.
        category: Name of its category; None where that is unknown.
        entry: Its entry in the file; `segmentation` is a list of polygons, an RLE, or nothing.
    """

    place: str
    image: CocoImage | None
    category: str | None
    entry: Mapping[str, Any]

    @property
    def is_crowd(self) -> bool:
        """Whether `iscrowd` is set."""
        return _is_set(self.entry.get('iscrowd'))

    @property
    def ignored(self) -> bool:
        """Whether it is a region in which detections are neither right nor wrong."""
        entry = self.entry
        return _is_set(entry.get('iscrowd')) or _is_set(entry.get('ignore'))


@dataclass
class CocoContent:
    """What is in a COCO file.

    Attributes:
        images: Images with complete entries, each id and file name once.
        categories: Names by id.
        annotations: All annotations that are dictionaries, in the order of the file.
        info: The dictionary `info`, empty where there is none.
        issues: What is wrong.
        notes: What was read although the standard has it otherwise.
    """

    images: list[CocoImage] = field(default_factory=list)
    categories: dict[Id, str] = field(default_factory=dict)
    annotations: list[CocoAnnotation] = field(default_factory=list)
    info: Mapping[str, Any] = field(default_factory=dict)
    issues: list[Issue] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def is_own(self) -> bool:
        """Whether this project wrote the file, so that `iscrowd` in it means a region to ignore."""
        return 'noise_mm' in self.info or 'noise_mm' in str(self.info.get('description'))

    def refuse_only_crowds(self, source: str) -> None:
        """Refuse a dataset of another program in which every annotation is `iscrowd`: nothing would be left of it.

        Raises:
            InputError: With what to do.
        """
        count = len(self.annotations)
        if count and not self.is_own and all(annotation.is_crowd for annotation in self.annotations):
            raise InputError(
                f'{source}: all {count} annotations are iscrowd, as CVAT writes masks, and would be ignored. Set '
                'iscrowd to 0 where they are cells.'
            )

    def add(self, kind: Kind, place: str, what: str) -> None:
        """Record an issue."""
        self.issues.append(Issue(kind, place, what))

    def raise_if_any(self, source: str, tolerated: Collection[Kind] = (kinds.LOW_ID,), remedy: str = REMEDY) -> None:
        """End reading if there are issues of other kinds than the tolerated ones.

        Raises:
            InputError: One line with the file, the first issues, the number of further ones and what to do.
        """
        raise_issues(source, [issue for issue in self.issues if issue.kind not in tolerated], remedy)


def raise_issues(source: str, issues: Collection[Issue], remedy: str = REMEDY) -> None:
    """Raise the issues of a file as one error, if there are any.

    Raises:
        InputError: One line with the file, the first issues, the number of further ones and what to do.
    """
    if issues:
        raise InputError(f'{source}: {first_of([f"{issue.place} {issue.what}" for issue in issues])}. {remedy}')


def require_classes(content: CocoContent, source: str, classes: Sequence[str]) -> None:
    """Refuse a file without a category of each class.

    Raises:
        InputError: With the first class that is missing, and those that are there.
    """
    names = content.categories.values()
    missing = [name for name in classes if name not in names]
    if missing:
        raise_issues(source, [issue for issue in content.issues if issue.kind is kinds.BAD_ENTRY])
        raise InputError(
            f'{source}: no category {missing[0]!r}; it has {", ".join(map(repr, names)) or "none"}. '
            'Rename the category, or set the classes of the config.'
        )


def is_coco(value: Any) -> bool:
    """Return whether the value in a JSON file is a COCO dataset."""
    return missing_list(value) is None


def missing_list(value: Any) -> str | None:
    """Return the first of `LISTS` that a COCO dataset should have and the value in a JSON file has not."""
    return next((name for name in LISTS if not isinstance(value, dict) or not isinstance(value.get(name), list)), None)


def read_content(value: Any, source: str, *, file_names: bool = True, annotation_ids: bool = True) -> CocoContent:
    """Return what is in a parsed COCO file, checked.

    Args:
        value: The parsed JSON.
        source: The file, for messages.
        file_names: Whether images need a `file_name`; scoring does not.
        annotation_ids: Whether annotations need ids that differ; nothing in training and scoring refers to them.

    Raises:
        InputError: If it is no COCO dataset at all; everything else is listed in `issues`.
    """
    missing = missing_list(value)
    if missing:
        raise InputError(f'{source}: not a COCO file, it has no list {missing!r}. Export it as COCO instances.')
    content = CocoContent(info=value['info'] if isinstance(value.get('info'), dict) else {})
    for name in LISTS:
        for number, entry in enumerate(value[name], start=1):
            if not isinstance(entry, dict):
                content.add(kinds.BAD_ENTRY, f'{name}, entry {number}', 'is not a dictionary')
    _read_images(_dictionaries(value['images']), content, file_names)
    _read_categories(_dictionaries(value['categories']), content)
    _read_annotations(_dictionaries(value['annotations']), content, annotation_ids)
    return content


def id_of(value: Any) -> Id | None:
    """Return an id: a whole number, or a text that is not empty; None for anything else."""
    if type(value) is int:  # first, as nearly all are
        return value
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) or (isinstance(value, str) and value) else None


def _is_set(flag: Any) -> bool:
    """Return whether a flag is set; some programs write numbers as text."""
    return bool(flag) and flag != '0'


def _dictionaries(entries: Iterable[Any]) -> list[dict[str, Any]]:
    return [entry for entry in entries if isinstance(entry, dict)]


def _read_images(entries: list[dict[str, Any]], content: CocoContent, file_names: bool) -> None:
    ids: set[Id] = set()
    names: set[str] = set()
    for number, entry in enumerate(entries, start=1):
        key, name = id_of(entry.get('id')), entry.get('file_name', None if file_names else '')
        place = f'image {number if key is None else key}' + (f' ({name})' if name and isinstance(name, str) else '')
        sides = [_side_px(entry.get(side)) for side in ('width', 'height')]
        lacking = [
            what
            for what, is_right in (
                ('id', key is not None),
                ('file_name', isinstance(name, str) and (name or not file_names)),
                ('width', sides[0]),
                ('height', sides[1]),
            )
            if not is_right
        ]
        if lacking:
            content.add(kinds.BAD_ENTRY, place, f'has no valid {", ".join(lacking)}')
        elif key in ids or (name and name in names):
            what = 'id' if key in ids else 'file name'
            content.add(kinds.DOUBLE_ID, place, f'has the {what} of another image too')
        else:
            if isinstance(key, int) and key < 1:
                content.add(kinds.LOW_ID, place, f'has the id {key}')
            ids.add(key)
            names.add(name)
            content.images.append(CocoImage(key, name, *sides, entry))


def _side_px(value: Any) -> int | None:
    """Return a width or height; None for what no image has."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    is_side = isinstance(value, int) and not isinstance(value, bool) and 0 < value <= LARGEST_PX
    return value if is_side else None


def _read_categories(entries: list[dict[str, Any]], content: CocoContent) -> None:
    for number, entry in enumerate(entries, start=1):
        key, name = id_of(entry.get('id')), entry.get('name')
        place = f'category {number if key is None else key}'
        if key is None or not isinstance(name, str) or not name:
            content.add(kinds.BAD_ENTRY, place, 'has no id and name')
        elif key in content.categories or name in content.categories.values():
            content.add(kinds.DOUBLE_ID, place, f'has the id or the name {name!r} of another category too')
        else:
            content.categories[key] = name


def _read_annotations(entries: list[dict[str, Any]], content: CocoContent, annotation_ids: bool) -> None:
    images = _References({image.id: image for image in content.images})
    categories = _References(content.categories)
    ids: set[Id] = set()
    odd: Counter[str] = Counter()
    for number, entry in enumerate(entries, start=1):
        key = id_of(entry.get('id'))
        place = f'annotation {f"no. {number}" if key is None else key}'
        if not annotation_ids:
            pass
        elif key is None:
            content.add(kinds.BAD_ENTRY, place, 'has no id')
        elif key in ids:
            content.add(kinds.DOUBLE_ID, place, 'has the id of another annotation too')
        elif isinstance(key, int) and key < 1:
            content.add(kinds.LOW_ID, place, f'has the id {key}')
        ids.add(key)
        image, category = images.find(entry.get('image_id')), categories.find(entry.get('category_id'))
        if image is None:
            what = f'refers to image {entry.get("image_id")!r}, which is not in the file, or incomplete there'
            content.add(kinds.UNKNOWN_IMAGE, place, what)
        if category is None:
            what = f'refers to category {entry.get("category_id")!r}, which is not in the file'
            content.add(kinds.UNKNOWN_CATEGORY, place, what)
        if is_flat(entry.get('segmentation')):
            odd['segmentations are flat lists of numbers, each taken for one polygon'] += 1
            entry = {**entry, 'segmentation': [entry['segmentation']]}
        content.annotations.append(CocoAnnotation(place, image, category, entry))
    for references, what in ((images, 'image_id'), (categories, 'category_id')):
        if references.of_other_type:
            odd[f'values of {what} are of another type than the ids they refer to'] = references.of_other_type
    content.notes += [f'{count} {what}' for what, count in odd.items()]


class _References:
    """Finds entries by id, also where the id is text in one place and a number in the other."""

    def __init__(self, by_id: Mapping[Id, Any]) -> None:
        self._by_id = by_id
        texts = Counter(map(str, by_id))
        self._by_text = {str(key): value for key, value in by_id.items() if texts[str(key)] == 1}
        self.of_other_type = 0

    def find(self, value: Any) -> Any:
        """Return the entry that `value` refers to, None if there is none; counts what only the text leads to."""
        key = id_of(value)
        found = self._by_id.get(key)
        if key is None or found is not None:
            return found
        found = self._by_text.get(str(key))
        self.of_other_type += found is not None
        return found
