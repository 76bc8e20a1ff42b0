"""In what a run differs from the setting of the NOISe paper, read from its `metrics.json`. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from noise_mm import paper_preset

# Section 5.1 of the paper; the rest are defaults of Ultralytics 8.1.
PAPER = {
    'model_size': ('size', 'l'),
    'patch_size_px': ('patches of px', 832),
    'network_size_px': ('input of px', 416),
    'max_epochs': ('epochs', 100),
    'patience': ('patience of early stopping', 50),
    'batch_size': ('images per iteration', 16),
    'best_metric': ('best epoch by', paper_preset.BEST_METRIC),
}
AUGMENTATION = ('PatchMosaic', 'PatchAffine', 'YOLOv5HSVRandomAug', 'RandomFlip horizontal')
MOUSE, HUMAN = ('M1', 'M2', 'M3', 'M4', 'M5'), ('H1', 'H2')
TEST_CFG = {
    'score_thr': ('least score', 0.001),
    'max_per_img': ('detections an image', paper_preset.MAX_DETECTIONS),
    'nms': ('NMS at IoU', 0.7),
}


def differences_from_paper(report: Mapping[str, Any]) -> list[str]:
    """Return the differences in words, such as 'size n instead of l'.

    Args:
        report: Content of a `metrics.json`.
    """
    run = report['run']
    found = [*_testing(report, run.get('test_cfg'))]
    training = run.get('training')
    if training is None:
        return [*found, 'how it was trained is not known']
    return [*found, *_training(training, run)]


def _testing(report: Mapping[str, Any], test_cfg: Mapping[str, Any] | None) -> Iterator[str]:
    if report['mode'] != paper_preset.MODE:
        yield f'mode {report["mode"]} instead of {paper_preset.MODE}'
    if 'segm' in report and report['mask_resolution'] != paper_preset.MASK_RESOLUTION:
        yield f'masks at {report["mask_resolution"]} resolution instead of {paper_preset.MASK_RESOLUTION}'
    for key, (what, expected) in TEST_CFG.items():
        value = (test_cfg or {}).get(key)
        value = value.get('iou_threshold') if isinstance(value, Mapping) else value
        if value is not None and value != expected:
            yield f'{what} {value} instead of {expected}'


def _training(training: Mapping[str, Any], run: Mapping[str, Any]) -> Iterator[str]:
    for key, (what, expected) in PAPER.items():
        if key in training and training[key] != expected:
            yield f'{what} {training[key]} instead of {expected}'
    if not training.get('coco_weights') and run.get('method') != 'random-init':
        yield 'no COCO weights'
    if training.get('amp') is False:
        yield 'no mixed precision'
    if training.get('split_unit') not in (None, 'patch'):
        yield f'validation by {training["split_unit"]}, the paper: a random 20 %'
    steps = training.get('augmentation')
    if steps is not None:
        missing = [step for step in AUGMENTATION if step not in steps]
        more = [step for step in steps if step not in AUGMENTATION]
        yield from (f'without {", ".join(missing)}',) if missing else ()
        yield from (f'also {", ".join(more)}',) if more else ()
    yield from _batches(training, run)


def _batches(training: Mapping[str, Any], run: Mapping[str, Any]) -> Iterator[str]:
    whole = HUMAN if run.get('protocol') == 'h2h' else MOUSE
    expected = [batch for batch in whole if batch != run.get('fold')]
    batches = training.get('batches') or []
    if sorted(batches) != expected:
        yield f'trained on {_listed(batches)} instead of {_listed(expected)}'
    if training.get('n_patches') is not None:
        yield f'{training["n_patches"]} training patches, number of the paper not known'


def _listed(batches: Sequence[str]) -> str:
    return ', '.join(batches) or 'nothing'
