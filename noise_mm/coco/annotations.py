"""COCO JSON: reading outlines from any COCO file, and writing this project's.

COCO polygons are in pixels with corners at whole numbers; several polygons of one annotation are its parts and their
union counts. COCO has no holes: an outline with holes is written as one ring with a bridge to each hole (see `rings`),
which every COCO tool fills rightly, and read back with its holes. Run-length masks (RLE) run down the columns of the
whole image, first the pixels outside; they are traced along pixel edges. Ids are counted from 1.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon

from noise_mm.coco.batch_folder import CATEGORIES, OSTEOCLAST_ID, coco_dictionary
from noise_mm.coco.file_issues import OutlineCollector
from noise_mm.files import read_json, replacing
from noise_mm.geometry.outline import Outline, parts_of, polygonal_parts
from noise_mm.geometry.pixels import fill_pixels, mask_of_runs, row_runs, trace
from noise_mm.geometry.rings import geometry_of_ring, keyholed

REMEDY = 'Export the COCO file again or correct these annotations.'


def coco_segmentation(geometry: Polygon | MultiPolygon) -> list[list[float]]:
    """COCO's list of polygons, each x1, y1, x2, y2, ...: one for each part, holes bridged into it."""
    return [keyholed(part).ravel().tolist() for part in parts_of(geometry)]


def geometry_from_segmentation(
    segmentation: list[list[float]] | dict[str, Any], height: int, width: int
) -> Polygon | MultiPolygon:
    """The geometry of COCO polygons, compressed RLE or uncompressed RLE; bridges to holes are undone.

    Polygons that cross themselves are repaired by the even-odd rule.

    Args:
        segmentation: The value of `segmentation` in a COCO annotation.
        height: Height of the image, which an RLE must have too.
        width: Width of the image.

    Raises:
        ValueError: If the value is neither, an RLE does not fill the image, or nothing is inside.
    """
    return _geometry_and_crossing(segmentation, height, width)[0]


def coco_rle(geometry: Polygon | MultiPolygon, height: int, width: int) -> dict[str, Any]:
    """The compressed RLE of the pixels whose centres are inside `geometry`; only its bounding box is rasterised.

    pycocotools counts pixels in 32 bits and so can't decode masks of images of 2^32 pixels (65,536 px a side) or more;
    `geometry_from_segmentation` can. For such wells polygons are the better choice.

    Returns:
        `size` (height, width) and `counts`, text, as JSON needs it.
    """
    return _rle_of_runs(*_column_runs(geometry, height, width), height, width)


def coco_annotation(
    annotation_id: int,
    image_id: int,
    geometry: Polygon | MultiPolygon,
    *,
    category_id: int = OSTEOCLAST_ID,
    ignored: bool = False,
    score: float | None = None,
    segmentation: dict[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """One COCO annotation; `area` and `bbox` (x, y, width, height) are exactly those of `geometry`, in pixels.

    Args:
        annotation_id: From 1: COCO's evaluation takes 0 for "no match".
        image_id: Id of the image.
        geometry: The outline in pixels of the image.
        category_id: Id of the class.
        ignored: Written as `iscrowd`.
        score: Confidence, where a model made the outline.
        segmentation: An RLE to be written instead of polygons.
        **more: Further keys.
    """
    left, top, right, bottom = (float(value) for value in geometry.bounds)
    annotation = {
        'id': annotation_id,
        'image_id': image_id,
        'category_id': category_id,
        'iscrowd': int(ignored),
        'bbox': [left, top, right - left, bottom - top],
        'area': float(geometry.area),
        'segmentation': coco_segmentation(geometry) if segmentation is None else segmentation,
    }
    if score is not None:
        annotation['score'] = score
    return {**annotation, **more}


def coco_of_well(
    outlines: Sequence[Outline],
    file_name: str,
    size_px: tuple[int, int],
    *,
    rle: bool = False,
    attributes: Iterable[Mapping[str, Any]] | None = None,
    **image_facts: Any,
) -> dict[str, Any]:
    """The COCO dictionary of one whole image.

    Args:
        outlines: Outlines in pixels of the image. Labels that are not among `CATEGORIES` get further ids.
        file_name: Name of the image file.
        size_px: Its width and height.
        rle: Whether segmentations are RLE, as predictions are exchanged, instead of polygons. `area` and `bbox` are
            then those of the pixels. Slivers that hold no pixel's centre stay polygons.
        attributes: For each outline what stands in its `attributes` besides the name.
        **image_facts: Further keys of the image, such as `well` and `mpp`.
    """
    dataset = _without_annotations(outlines, file_name, size_px, image_facts)
    annotations = list(_annotations_of_well(outlines, dataset['categories'], size_px, rle, attributes))
    return coco_dictionary(dataset['images'], annotations, categories=dataset['categories'])


def write_coco(
    path: str | Path,
    outlines: Sequence[Outline],
    file_name: str,
    size_px: tuple[int, int],
    *,
    rle: bool = False,
    attributes: Iterable[Mapping[str, Any]] | None = None,
    **image_facts: Any,
) -> None:
    """Writes the outlines of one whole image as a COCO file, whole or not at all; arguments as `coco_of_well`.

    Annotations are written one by one, each in a line of its own.
    """
    dataset = _without_annotations(outlines, file_name, size_px, image_facts)
    annotations = _annotations_of_well(outlines, dataset['categories'], size_px, rle, attributes)
    end = ']}'
    head = json.dumps(dataset)
    assert head.endswith('"annotations": []}')
    with replacing(path) as temporary, open(temporary, 'w', encoding='utf-8', newline='') as file:
        file.write(head.removesuffix(end))
        for annotation in annotations:
            file.write((',\n' if annotation['id'] > 1 else '\n') + json.dumps(annotation))
        file.write(f'\n{end}\n')


def read_coco(
    path: str | Path,
    size_px: tuple[int, int] | None = None,
    file_name: str | None = None,
    labels: Collection[str] | None = None,
    repair: bool = True,
) -> list[Outline]:
    """The outlines of one image of a COCO file, in the order of the file.

    Args:
        path: The file.
        size_px: Width and height of the image, if known, to check that the file was made for it.
        file_name: Which image; may be left out if the file has only one.
        labels: Category names to read; all if None.
        repair: Whether self-crossing outlines are repaired (and logged) or faults.

    Raises:
        InputError: As `read_coco_images`, or if the image is not in the file or has another size.
    """
    dataset = _dataset(path, REMEDY)
    names = [image.get('file_name') for image in dataset['images']]
    if file_name is None and len(names) != 1:
        raise OutlineCollector(path, REMEDY).error(f'holds {len(names)} images; say which one')
    if file_name is not None and file_name not in names:
        raise OutlineCollector(path, REMEDY).error(f'has no image {file_name!r}')
    image = dataset['images'][0 if file_name is None else names.index(file_name)]
    stated = (image.get('width'), image.get('height'))
    if size_px is not None and stated != tuple(size_px):
        raise OutlineCollector(path, 'Take the COCO file that belongs to the image.').error(
            f'was made for {stated[0]} x {stated[1]} px, but the image has {size_px[0]} x {size_px[1]} px'
        )
    return _outlines_by_image(path, dataset, {image.get('id')}, labels, repair)[image['id']]


def read_coco_images(
    path: str | Path, labels: Collection[str] | None = None, repair: bool = True
) -> dict[str, list[Outline]]:
    """The outlines of every image of a COCO file, by `file_name`; images without annotations have an empty list.

    `iscrowd` makes an outline `ignored`; `attributes.name` or `name`, and `score`, are kept.

    Args:
        path: The file.
        labels: Category names to read; all if None.
        repair: Whether self-crossing outlines are repaired (and logged) or faults.

    Raises:
        InputError: If the file is not COCO, ids are missing, doubled or unknown, annotations have no segmentation
            or a damaged one, or outlines have no area or lie outside their image.
    """
    dataset = _dataset(path, REMEDY)
    by_id = _outlines_by_image(path, dataset, {image.get('id') for image in dataset['images']}, labels, repair)
    return {image['file_name']: by_id[image['id']] for image in dataset['images']}


def is_coco(value: Any) -> bool:
    """Whether the value in a JSON file is a COCO dataset."""
    return isinstance(value, dict) and all(
        isinstance(value.get(key), list) for key in ('images', 'annotations', 'categories')
    )


def _without_annotations(
    outlines: Sequence[Outline], file_name: str, size_px: tuple[int, int], image_facts: Mapping[str, Any]
) -> dict[str, Any]:
    """The COCO dictionary of one image with the categories of its outlines, but without annotations."""
    categories = [dict(category) for category in CATEGORIES]
    known = {category['name'] for category in categories}
    for label in dict.fromkeys(outline.label for outline in outlines):
        if label not in known:
            categories.append({'id': len(categories) + 1, 'name': label, 'supercategory': 'cell'})
    image = {'id': 1, 'file_name': file_name, 'width': size_px[0], 'height': size_px[1], **image_facts}
    return coco_dictionary([image], [], categories=categories)


def _annotations_of_well(
    outlines: Sequence[Outline],
    categories: Sequence[Mapping[str, Any]],
    size_px: tuple[int, int],
    rle: bool,
    attributes: Iterable[Mapping[str, Any]] | None,
) -> Iterator[dict[str, Any]]:
    """The annotations of one image one by one; arguments as `coco_of_well`."""
    width, height = size_px
    ids = {category['name']: category['id'] for category in categories}
    facts = repeat({}, len(outlines)) if attributes is None else attributes
    for number, (outline, more) in enumerate(zip(outlines, facts, strict=True), start=1):
        annotation = coco_annotation(
            number,
            1,
            outline.geometry,
            category_id=ids[outline.label],
            ignored=outline.ignored,
            score=outline.score,
            **(_pixel_facts(outline.geometry, height, width) if rle else {}),
        )
        named = {'name': outline.name, **more} if outline.name else dict(more)
        yield {**annotation, 'attributes': named} if named else annotation


def _pixel_facts(geometry: Polygon | MultiPolygon, height: int, width: int) -> dict[str, Any]:
    """`segmentation` as RLE with the `area` and `bbox` of its pixels, as pycocotools has them.

    Empty for a sliver without pixels, which only polygons can show.
    """
    starts, ends = _column_runs(geometry, height, width)
    if not len(starts):
        return {}
    first, last = starts // height, (ends - 1) // height
    top, bottom = int((starts % height).min()), int(((ends - 1) % height).max()) + 1
    if (last > first).any():  # a run that goes on at the top of the next column
        top, bottom = 0, height
    box = [float(first[0]), float(top), float(last[-1] + 1 - first[0]), float(bottom - top)]
    segmentation = _rle_of_runs(starts, ends, height, width)
    return {'segmentation': segmentation, 'area': float((ends - starts).sum()), 'bbox': box}


def _column_runs(
    geometry: Polygon | MultiPolygon, height: int, width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The runs of pixels inside `geometry` down the columns of the image: first pixels and ends (not included)."""
    left, top, right, bottom = geometry.bounds
    x, y = max(int(left), 0), max(int(top), 0)
    box_width, box_height = max(min(int(np.ceil(right)), width) - x, 1), max(min(int(np.ceil(bottom)), height) - y, 1)
    mask = fill_pixels(geometry, x, y, box_width, box_height)
    _, columns, starts, ends = row_runs(mask.T)
    starts, ends = (columns + x) * height + starts + y, (columns + x) * height + ends + y
    apart = starts[1:] != ends[:-1]  # a run that reaches the lower border may go on at the top of the next column
    return starts[np.r_[True, apart][: len(starts)]], ends[np.r_[apart, True][: len(ends)]]


def _rle_of_runs(starts: NDArray[np.int64], ends: NDArray[np.int64], height: int, width: int) -> dict[str, Any]:
    """The compressed RLE of `_column_runs`."""
    borders = np.concatenate([[0], np.stack([starts, ends], axis=1).ravel(), [height * width]])
    counts = np.diff(borders).tolist()
    return {'size': [height, width], 'counts': _text_of_counts(counts if counts[-1] else counts[:-1])}


def _dataset(path: str | Path, remedy: str) -> dict[str, Any]:
    """The COCO dictionary in a file, with images that have all the keys that are needed and ids that differ."""
    collector = OutlineCollector(path, remedy)
    dataset = read_json(path)
    if not is_coco(dataset):
        raise collector.error('not a COCO file with the lists images, annotations and categories')
    ids = set()
    for number, image in enumerate(dataset['images'], start=1):
        facts = image if isinstance(image, dict) else {}
        if not isinstance(facts.get('file_name'), str):
            collector.add(f'image {number}', 'has no file_name')
        elif not all(isinstance(facts.get(key), int) and facts[key] > 0 for key in ('width', 'height')):
            collector.add(f'image {number} ({facts["file_name"]})', 'has no width and height')
        elif 'id' not in facts or facts['id'] in ids:
            collector.add(f'image {number} ({facts["file_name"]})', 'has no id or one that is used twice')
        ids.add(facts.get('id'))
    collector.raise_if_any()
    return dataset


def _outlines_by_image(
    path: str | Path,
    dataset: dict[str, Any],
    wanted_ids: Collection[int],
    labels: Collection[str] | None,
    repair: bool,
) -> dict[int, list[Outline]]:
    """The outlines of the wanted images by image id."""
    faults = OutlineCollector(path, REMEDY)
    names = {category.get('id'): category.get('name') for category in dataset['categories']}
    sizes = {image['id']: (image['width'], image['height']) for image in dataset['images']}
    collectors = {key: OutlineCollector(path, REMEDY, sizes[key], repair) for key in wanted_ids}
    seen = set()
    for number, annotation in enumerate(dataset['annotations'], start=1):
        facts = annotation if isinstance(annotation, dict) else {}
        where = f'annotation {facts.get("id", f"no. {number}")}'
        label = names.get(facts.get('category_id'))
        if 'id' not in facts or facts['id'] in seen:
            faults.add(where, 'has no id or one that is used twice')
        elif facts.get('image_id') not in sizes:
            faults.add(where, f'refers to the unknown image {facts.get("image_id")}')
        elif label is None:
            faults.add(where, f'refers to the unknown category {facts.get("category_id")}')
        elif facts['image_id'] in collectors and (labels is None or label in labels):
            _add_annotation(collectors[facts['image_id']], where, facts, label)
        seen.add(facts.get('id'))
    for collector in collectors.values():
        faults.faults.extend(collector.faults)
    faults.raise_if_any()
    return {key: collector.outlines for key, collector in collectors.items()}


def _add_annotation(collector: OutlineCollector, where: str, facts: dict[str, Any], label: str) -> None:
    """Adds the outline of one COCO annotation to those of its image."""
    width, height = collector.size_px
    if not facts.get('segmentation'):
        collector.add(where, 'has no segmentation')
        return
    try:
        geometry, crossing = _geometry_and_crossing(facts['segmentation'], height, width)
    except (ValueError, TypeError) as error:
        collector.add(where, str(error))
        return
    if crossing:
        collector.note_crossing(where, geometry)
    name = (facts.get('attributes') or {}).get('name') or facts.get('name') or ''
    collector.add_geometry(
        where,
        geometry,
        name=str(name),
        label=label,
        score=facts.get('score'),
        ignored=bool(facts.get('iscrowd')),
    )


def _geometry_and_crossing(segmentation: Any, height: int, width: int) -> tuple[Polygon | MultiPolygon, bool]:
    """The geometry of a segmentation, and whether one of its polygons crosses itself."""
    if isinstance(segmentation, dict):
        return _trace_rle(segmentation, height, width), False
    if not isinstance(segmentation, list) or not all(isinstance(ring, list) for ring in segmentation):
        raise ValueError('the segmentation is neither a list of polygons nor an RLE')
    geometries = []
    crossing = False
    for ring in segmentation:
        if len(ring) % 2:
            raise ValueError(f'a polygon has {len(ring)} numbers, which are not pairs')
        geometry, crosses = geometry_of_ring(np.array(ring, dtype=np.float64).reshape(-1, 2))
        geometries.append(geometry)
        crossing |= crosses
    if not geometries:
        raise ValueError('the segmentation is empty')
    return geometries[0] if len(geometries) == 1 else polygonal_parts(shapely.union_all(geometries)), crossing


def _trace_rle(rle: dict[str, Any], height: int, width: int) -> Polygon | MultiPolygon:
    """The outline of an RLE; only the part of the image that it covers is ever held in memory."""
    size, counts = rle.get('size'), rle.get('counts')
    if size != [height, width]:
        raise ValueError(f'the RLE has the size {size}, its image is [{height}, {width}] (height, width)')
    counts = np.array(_counts_of_text(counts) if isinstance(counts, str) else counts, dtype=np.int64)
    if counts.ndim != 1 or (counts < 0).any() or counts.sum() != height * width:
        raise ValueError('the RLE does not fill its image')
    borders = np.concatenate([[0], np.cumsum(counts)])
    starts, ends = borders[1:-1:2], borders[2::2]
    starts, ends = starts[ends > starts], ends[ends > starts]
    if not len(starts):
        raise ValueError('the RLE has no pixel')
    # A run may go on in further columns: it is cut into one piece for each.
    first, last = starts // height, (ends - 1) // height
    pieces = last - first + 1
    run = np.repeat(np.arange(len(starts)), pieces)
    column = first[run] + np.arange(len(run)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    top = np.maximum(starts[run] - column * height, 0)
    bottom = np.minimum(ends[run] - column * height, height)
    mask, y, x = mask_of_runs(column, top, bottom)
    return trace(mask.T, x, y)


def _text_of_counts(counts: list[int]) -> str:
    """COCO's compressed form of run lengths; the opposite of `_counts_of_text`."""
    digits: list[int] = []
    for index, count in enumerate(counts):
        value = count - counts[index - 2] if index > 2 else count
        while not -16 <= value < 16:  # what is left must fit into four bits and a sign
            digits.append(value & 31 | 32)
            value >>= 5
        digits.append(value & 31)
    return ''.join(chr(48 + digit) for digit in digits)


def _counts_of_text(text: str) -> list[int]:
    """The run lengths in COCO's compressed form.

    Each number is written in digits of five bits, the lowest first, as characters from 48 on; a sixth bit says that
    more follow, and the highest bit of the last digit is the sign. From the fourth number on, the difference to the
    number two before is written.

    Raises:
        ValueError: If the text ends within a number or has characters that are no digits.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        digit = ord(character) - 48
        if not 0 <= digit < 64:
            raise ValueError('the RLE has a character that is no digit')
        value |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            continue
        if digit & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError('the RLE ends within a number')
    return counts
