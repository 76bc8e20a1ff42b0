"""Compares the speed of scoring a dataset with pycocotools and other evaluators, on the same synthetic results."""

import argparse
import contextlib
import importlib
import io
import statistics
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from timing import Run, median_ratio, run_in_turn, table

from noise_mm.errors import InputError, run_command

OURS = 'this project'

PATCH_PX = 832
DRAWN_PATCHES = 200  # the others repeat them with other scores, because drawing is not what is measured
TOLERANCE = 1e-6
# Evaluators with the interface of pycocotools: module, class of datasets, class of evaluations.
PEERS = {
    'pycocotools': ('pycocotools', 'coco.COCO', 'cocoeval.COCOeval'),
    'faster-coco-eval': ('faster_coco_eval', 'COCO', 'COCOeval_faster'),
    'ultrafast-pycocotools': ('ultrafast_pycocotools', 'COCO', 'COCOeval'),
}


def main() -> None:
    """Draw results, score them by all evaluators in turn and print the median times."""
    options = parse_options()
    import numpy as np

    from noise_mm.evaluation.evaluate import IOU_THRS

    dataset, results = draw_results(np.random.default_rng(0), options.patches, options.objects, options.detections)
    print(f'{options.patches} patches, {len(dataset["annotations"])} objects, {len(results)} detections')
    scorers = {OURS: score_by_us} | {name: score_by_peer(name) for name in options.against}
    for kind in options.kinds:
        ways = {name: partial(scorer, dataset, results, kind, IOU_THRS) for name, scorer in scorers.items()}
        print(report(kind, run_in_turn(ways, options.repeats)))


def draw_results(rng, n_patches: int, n_objects: int, n_detections: int) -> tuple[dict, list[dict]]:
    """Return COCO ground truth and results: ellipses; most detections are shifted copies of an object.

    Args:
        rng: NumPy generator.
        n_patches: Images.
        n_objects: Objects of each image.
        n_detections: Detections of each image.
    """
    import numpy as np

    n_drawn = min(DRAWN_PATCHES, n_patches)
    drawn = [draw_patch(rng, n_objects, n_detections) for _ in range(n_drawn)]
    images, annotations, results = [], [], []
    for image_id in range(1, n_patches + 1):
        objects, found = drawn[image_id % n_drawn]
        images.append({'id': image_id, 'file_name': f'{image_id}.png', 'width': PATCH_PX, 'height': PATCH_PX})
        for each in objects:
            annotations.append({**each, 'id': len(annotations) + 1, 'image_id': image_id})
        scores = np.round(rng.random(len(found)), 6).tolist()
        results += [{**each, 'image_id': image_id, 'score': score} for each, score in zip(found, scores, strict=True)]
    categories = [{'id': 1, 'name': 'osteoclast'}]
    return {'images': images, 'annotations': annotations, 'categories': categories}, results


def draw_patch(rng, n_objects: int, n_detections: int) -> tuple[list[dict], list[dict]]:
    """Return objects and detections of one patch as COCO entries without ids."""
    import numpy as np

    centres, radii = rng.uniform(0, PATCH_PX, (n_objects, 2)), rng.uniform(15, 50, (n_objects, 2))
    origin = rng.integers(0, n_objects, n_detections)
    strayed = rng.random(n_detections) < 0.3
    shift = rng.normal(0, 0.25, (n_detections, 2)) * radii[origin] + strayed[:, None] * rng.normal(
        0, 100, (n_detections, 2)
    )
    found_radii = radii[origin] * rng.normal(1, 0.15, (n_detections, 2)).clip(0.5, 1.5)
    objects = [ellipse(*each) for each in zip(centres, radii, strict=True)]
    found = [ellipse(*each) for each in zip(np.clip(centres[origin] + shift, 0, PATCH_PX), found_radii, strict=True)]
    return (
        [{**each, 'category_id': 1, 'iscrowd': 0} for each in objects],
        [{key: each[key] for key in ('segmentation', 'bbox')} | {'category_id': 1} for each in found],
    )


def ellipse(centre, radii) -> dict:
    """Return mask (RLE as in a JSON file), box and area of an ellipse, cut off at the border of the patch."""
    import numpy as np
    from pycocotools import mask as coco_mask

    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    points = np.clip(centre + radii * np.stack([np.cos(angles), np.sin(angles)], axis=1), 0, PATCH_PX)
    rle = coco_mask.frPyObjects([points.ravel().tolist()], PATCH_PX, PATCH_PX)[0]
    return {
        'segmentation': {'size': rle['size'], 'counts': rle['counts'].decode('ascii')},
        'bbox': coco_mask.toBbox(rle).tolist(),
        'area': float(coco_mask.area(rle)),
    }


def score_by_us(dataset: dict, results: list[dict], kind: str, iou_thrs: tuple[float, ...]) -> list[float]:
    """Return AP at each threshold by this project's evaluation."""
    from noise_mm.evaluation.coco_results import evaluate_coco_results

    evaluation = evaluate_coco_results(dataset, results, (kind,), iou_thrs)
    return [score.ap for score in evaluation.mean_scores(kind)]


def score_by_peer(name: str) -> Callable[[dict, list[dict], str, tuple[float, ...]], list[float]]:
    """Return the same by another evaluator: the given thresholds, one range of areas, no limit of detections."""
    module_name, *class_names = PEERS[name]
    try:
        module = importlib.import_module(module_name)
        for part in ('coco', 'cocoeval') if name == 'pycocotools' else ():
            importlib.import_module(f'{module_name}.{part}')
    except ImportError as error:
        raise InputError(f'--against {name}: is not installed ({error}). Install it, or leave it out.') from error
    dataset_class, evaluation_class = (_attribute(module, each) for each in class_names)

    def score(dataset: dict, results: list[dict], kind: str, iou_thrs: tuple[float, ...]) -> list[float]:
        import numpy as np

        with contextlib.redirect_stdout(io.StringIO()):
            truth = dataset_class()
            # These evaluators write into the entries, so each gets its own.
            truth.dataset = {**dataset, 'annotations': [dict(each) for each in dataset['annotations']], 'info': {}}
            truth.createIndex()
            found = truth.loadRes([dict(each) for each in results])
            evaluation = evaluation_class(truth, found, kind)
            evaluation.params.iouThrs = np.array(iou_thrs)
            evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ['all']
            evaluation.params.maxDets = [max(Counter(each['image_id'] for each in results).values())]
            evaluation.evaluate()
            evaluation.accumulate()
        return evaluation.eval['precision'][:, :, 0, 0, 0].mean(axis=1).tolist()

    return score


def _attribute(module, dotted: str):
    for part in dotted.split('.'):
        module = getattr(module, part)
    return module


def report(kind: str, runs: dict[str, list[Run]]) -> str:
    """Return a table of median times, with their ratios to this project's, and how far the APs lie from this project's.

    Raises:
        InputError: If the evaluators do not agree.
    """
    wall = {name: [run.took.wall_s for run in each] for name, each in runs.items()}
    cpu = {name: [run.took.cpu_s for run in each] for name, each in runs.items()}
    values = {name: each[-1].result for name, each in runs.items()}
    apart = {name: max(abs(a - b) for a, b in zip(values[OURS], each, strict=True)) for name, each in values.items()}
    if max(apart.values()) > TOLERANCE:
        raise InputError(f'{kind}: the evaluators do not agree. Do not trust these times.')
    rows = []
    for name in runs:
        columns = [(statistics.median(took[name]), median_ratio(took[name], took[OURS])) for took in (wall, cpu)]
        rows.append([name, *columns[0], *columns[1], apart[name]])
    return table([kind, 's', 'ratio', 's of CPU', 'ratio', 'largest difference of AP'], rows)


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='example: python benchmarks/metric.py --patches 2000 --against pycocotools faster-coco-eval',
    )
    parser.add_argument('--patches', type=int, default=20000, help='default: 20000')
    parser.add_argument('--objects', type=int, default=20, help='objects in a patch (default: 20)')
    parser.add_argument('--detections', type=int, default=60, help='detections in a patch (default: 60)')
    parser.add_argument('--repeats', type=int, default=3, help='how often each evaluator runs (default: 3)')
    parser.add_argument('--kinds', nargs='+', choices=('segm', 'bbox'), default=['segm', 'bbox'], help='default: both')
    parser.add_argument('--against', nargs='+', choices=tuple(PEERS), default=['pycocotools'], help='peers to compare')
    options = parser.parse_args()
    if min(options.patches, options.objects, options.detections, options.repeats) < 1:
        raise InputError('--patches, --objects, --detections and --repeats must be at least 1. Give larger numbers.')
    return options


if __name__ == '__main__':
    run_command(main)
