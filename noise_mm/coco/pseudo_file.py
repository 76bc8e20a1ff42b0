"""The pseudo-label file of a batch, `<data_root>/<pseudo_dir>/<batch>.json`.

It is a COCO file: images and osteoclasts as in the batch's `annotations.json`, and weakly labelled nuclei as boxes with
a `score`. Uncertain nuclei are ignored regions (`iscrowd` and `ignore` are 1). `info.pseudo_labels` says where the
nuclei come from:

    made_from   all that the nuclei follow from; a file is up to date if this is what it would be made from again
    detector    name of the checkpoint and config, the batches it was trained on, and the batch that was held out
    threshold   score threshold of a nucleus, how it was chosen, and precision and recall with it
    n_nuclei, n_uncertain, noise_mm (version)
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noise_mm.coco.batch_folder import CATEGORIES, NUCLEUS_ID
from noise_mm.errors import InputError
from noise_mm.files import read_json, sha256_of

if TYPE_CHECKING:
    from noise_mm.pseudo_labels.weak_nuclei import WeakNuclei

NUCLEUS = 'nucleus'
INFO_KEY = 'pseudo_labels'
DEFAULT_DIR = 'pseudo'  # as the configs have it
FOLD_PREFIX = 'without_'  # the last part of `pseudo_dir`, before the batch that is held out


def pseudo_path(data_root: str | Path, pseudo_dir: str, batch: str) -> Path:
    """Return where the pseudo-labels of a batch are."""
    return Path(data_root) / pseudo_dir / f'{batch}.json'


def label_command(data_root: str | Path, pseudo_dir: str, batch: str) -> str:
    """Return the command that labels a batch again."""
    folder = Path(pseudo_dir)
    fold = ''
    if folder.name.startswith(FOLD_PREFIX):
        fold, folder = f' --fold {folder.name.removeprefix(FOLD_PREFIX)}', folder.parent
    where = '' if folder == Path(DEFAULT_DIR) else f' --cfg-options pseudo_dir={folder.as_posix()}'
    return (
        f'python tools/pseudo_label.py STAGE_1_CONFIG STAGE_1_BEST_PTH --data-root {data_root} --batches {batch}'
        f'{fold}{where}'
    )


def pseudo_content(
    annotated: Mapping[str, Any], nuclei: Mapping[int, 'WeakNuclei'], score_thr: float, provenance: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the content of a pseudo-label file.

    Annotations are numbered from 1, those of nuclei last.

    Args:
        annotated: The content of `annotations.json`. Nuclei in it are left out.
        nuclei: For each image id the nuclei to write, uncertain ones among them.
        score_thr: Nuclei of less confidence are uncertain.
        provenance: `info.pseudo_labels`; the numbers of nuclei are added.
    """
    category_id = _nucleus_id(annotated['categories'])
    categories = [dict(category) for category in annotated['categories']]
    if category_id not in {category['id'] for category in categories}:
        own = next(category for category in CATEGORIES if category['id'] == NUCLEUS_ID)
        categories.append({**own, 'id': category_id})
    annotations = [each for each in annotated['annotations'] if each['category_id'] != category_id]
    weak = [
        _nucleus(image['id'], category_id, box, score, score < score_thr)
        for image in annotated['images']
        for box, score in zip(nuclei[image['id']].boxes.tolist(), nuclei[image['id']].scores.tolist(), strict=True)
    ]
    n_uncertain = sum(each['iscrowd'] for each in weak)
    counts = {'n_nuclei': len(weak) - n_uncertain, 'n_uncertain': n_uncertain}
    return {
        'info': {**annotated.get('info', {}), INFO_KEY: {**provenance, **counts}},
        'licenses': annotated.get('licenses', []),
        'categories': categories,
        'images': annotated['images'],
        'annotations': [{**each, 'id': number} for number, each in enumerate(annotations + weak, start=1)],
    }


def _nucleus_id(categories: Sequence[Mapping]) -> int:
    """Return the id of the category nucleus: the file's own, else the usual one if it is free, else a new one."""
    ids = {category['name']: category['id'] for category in categories}
    if NUCLEUS in ids:
        return ids[NUCLEUS]
    return NUCLEUS_ID if NUCLEUS_ID not in ids.values() else max(ids.values()) + 1


def _nucleus(image_id: int, category_id: int, box: list, score: float, uncertain: bool) -> dict:
    x1, y1, x2, y2 = box
    width, height = round(x2 - x1, 2), round(y2 - y1, 2)
    return {
        'image_id': image_id,
        'category_id': category_id,
        'iscrowd': int(uncertain),
        'ignore': int(uncertain),
        'bbox': [x1, y1, width, height],
        'area': round(width * height, 2),
        'segmentation': [],
        'score': score,
    }


# --- up to date or not


def differences(path: Path, made_from: Mapping[str, Any]) -> list[str] | None:
    """Return what has changed since a pseudo-label file was made: names of entries of `made_from`; none if up to date.

    Returns:
        None if there is no such file, or nothing that says what it was made from.
    """
    try:
        recorded = provenance_of(read_json(path)).get('made_from') if path.exists() else None
    except InputError:
        return None  # it is to be written again
    if not isinstance(recorded, Mapping):
        return None
    now = json.loads(json.dumps(made_from))
    return sorted(key for key in {*now, *recorded} if now.get(key) != recorded.get(key))


def provenance_of(content: Any) -> Mapping[str, Any]:
    """Return `info.pseudo_labels` of a file's content; empty if it has none."""
    info = content.get('info') if isinstance(content, Mapping) else None
    provenance = info.get(INFO_KEY) if isinstance(info, Mapping) else None
    return provenance if isinstance(provenance, Mapping) else {}


def digest_of_images(paths: Iterable[str | Path]) -> str:
    """Return one SHA-256 for the names and contents of images, read by as many threads as there are cores.

    The content and not the time of the last change, so that a copied dataset is not labelled again.

    Raises:
        InputError: If one can't be read.
    """
    paths = [Path(path) for path in paths]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        digests = pool.map(sha256_of, paths)
        return digest_of_json([[path.name, digest] for path, digest in zip(paths, digests, strict=True)])


def digest_of_json(value: Any) -> str:
    """Return the SHA-256 of a value written as JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


# --- what stage 2 asks of a file


def check_pseudo_labels(
    content: Any, data_root: str | Path, pseudo_dir: str, batch: str, held_out: Sequence[str]
) -> None:
    """Refuse pseudo-labels that are not of this batch, not of its present annotations, or have seen test data.

    Whether the osteoclasts are still those of `<batch>/annotations.json` is asked where that file exists. A file of
    another program, without `info.pseudo_labels`, can't be asked what its detector was trained on.

    Args:
        content: Of the pseudo-label file; what is no COCO file is left to the reader of those.
        data_root: Folder of the batch folders.
        pseudo_dir: Folder of the pseudo-label files below it.
        batch: The batch that the file is named after.
        held_out: Batches that must not have been trained on.

    Raises:
        InputError: With the command that puts it right.
    """
    objects = _objects(content)
    if objects is None:
        return
    path = pseudo_path(data_root, pseudo_dir, batch)
    remedy = label_command(data_root, pseudo_dir, batch)
    others = {str(image.get('batch', batch)) for image in content['images']} - {batch}
    if others:
        raise InputError(f'{path}: holds images of batch {min(others)} and not of {batch}. Label it again: {remedy}')
    provenance = provenance_of(content)
    seen = sorted(set(held_out) & set((provenance.get('detector') or {}).get('train_batches') or ()))
    if seen:
        raise InputError(
            f'{path}: its detector was trained on {seen[0]}, which is held out for the test. '
            f'Train stage 1 without it (--fold {seen[0]}) and label again: {remedy}'
        )
    annotations_file = Path(data_root) / batch / 'annotations.json'
    if not annotations_file.exists():
        return
    recorded = (provenance.get('made_from') or {}).get('annotations_sha256')
    if recorded != sha256_of(annotations_file) and objects != _objects(read_json(annotations_file)):
        raise InputError(f'{path}: its osteoclasts are not those of {annotations_file}. Label it again: {remedy}')


def _objects(content: Any) -> Counter | None:
    """Return all images, and all objects but nuclei, in any order; None if this is no COCO file."""
    try:
        names = {category['id']: category['name'] for category in content['categories']}
        files = {image['id']: image['file_name'] for image in content['images']}
        return Counter(
            json.dumps(
                [
                    files[each['image_id']],
                    names[each['category_id']],
                    each.get('bbox'),
                    each.get('segmentation') or None,
                    bool(each.get('iscrowd') or each.get('ignore')),
                ]
            )
            for each in content['annotations']
            if names[each['category_id']] != NUCLEUS
        ) + Counter(files.values())
    except (KeyError, TypeError, AttributeError):
        return None
