"""Compares the speed of predicting a whole well, with PyTorch and with ONNX Runtime, with the network's bare forward
pass, with prediction patch after patch, and with SAHI.

All run on the same tiles of the same well with the same weights, in turn; medians are printed. The others run with
PyTorch. ONNX Runtime and SAHI are left out where they are not installed (pip install '.[cpu]'; pip install sahi).
"""

import argparse
import contextlib
import io
import statistics
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from timing import Run, median_ratio, run_in_turn, table

from noise_mm.command_line import parse_cfg_options, pick_device
from noise_mm.errors import InputError, run_command

if TYPE_CHECKING:
    import numpy as np

    from noise_mm.inference.detector import TileDetector
    from noise_mm.inference.predict_well import TileSettings
    from noise_mm.slides.chunked import Slide

EXAMPLE = """
example:
  python benchmarks/predict.py configs/quickstart/yolov8-n-seg.py quickstart/training/best.pth \\
      quickstart/new_culture/M1/wells/M1_w05.tif
"""
OURS, ONNX, BARE = 'this project', 'this project, ONNX Runtime', 'bare forward pass'
BY_PATCH, SAHI = 'patch after patch', 'SAHI'
SAHI_OVERLAP = 0.5  # as the stride of half a tile


def main() -> None:
    """Read the options, run all in turn and print the medians."""
    args = parse_options()
    import cv2
    import torch

    if args.threads is not None:
        torch.set_num_threads(args.threads)
        cv2.setNumThreads(args.threads)
    from noise_mm.configuration import load_config
    from noise_mm.inference.detector import TileDetector
    from noise_mm.inference.predict_well import TileSettings
    from noise_mm.slides.slide import open_slide

    config = load_config(args.config, parse_cfg_options(args.cfg_options))
    device = pick_device(args.device)
    detector = TileDetector(config, args.checkpoint, device, args.score_thr, backend='pytorch')
    onnx_detector = TileDetector(config, args.checkpoint, device, args.score_thr, backend='auto')
    tile_px = config.get('patch_size_px', TileSettings.tile_px)
    settings = TileSettings(tile_px, tile_px // 2, args.batch_size)
    with open_slide(args.well) as slide:
        schemes = schemes_of(slide, detector, onnx_detector, settings)
        synchronise = torch.cuda.synchronize if detector.device.type == 'cuda' else None
        print(report(slide, settings, run_in_turn(schemes, args.repeats, warm_up=1, synchronise=synchronise)))


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', type=Path, help="config of one of this project's segmentors")
    parser.add_argument('checkpoint', type=Path, help='its weights')
    parser.add_argument('well', type=Path, help='a well image at the reference resolution (0.7784 um/px)')
    parser.add_argument('--repeats', type=int, default=5, help='how often each is measured (5)')
    parser.add_argument('--score-thr', type=float, default=0.25, metavar='S', help='score threshold (0.25)')
    parser.add_argument('--batch-size', type=int, default=4, help='tiles at a time (4); SAHI and patches take one')
    parser.add_argument('--threads', type=int, help='threads of the network on the CPU (default: as torch decides)')
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda:0, ...')
    parser.add_argument('--cfg-options', nargs='+', metavar='KEY=VALUE', default=[], help='settings of the config')
    args = parser.parse_args()
    for name in ('repeats', 'batch_size', 'threads'):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise InputError(f'--{name.replace("_", "-")} must be at least 1 (got {value}).')
    return args


def schemes_of(
    slide: 'Slide', detector: 'TileDetector', onnx_detector: 'TileDetector', settings: 'TileSettings'
) -> dict[str, Callable[[], int | None]]:
    """Return what is compared: functions that do a whole well and return the number of cells, if they find any."""
    schemes = {
        BARE: bare_forward_pass(slide, detector, settings),
        OURS: lambda: by_us(slide, detector, settings),
        BY_PATCH: lambda: patch_after_patch(slide, detector, settings),
    }
    if onnx_detector.metadata['backend'] == 'onnxruntime':
        schemes[ONNX] = lambda: by_us(slide, onnx_detector, settings)
    if find_spec('sahi') is None:
        print('SAHI is not installed and left out.')
    else:
        schemes[SAHI] = by_sahi(slide, detector, settings)
    return schemes


def bare_forward_pass(slide: 'Slide', detector: 'TileDetector', settings: 'TileSettings') -> Callable[[], None]:
    """Return the network alone, on batches that lie ready in its memory."""
    import torch

    from noise_mm.inference.predict_well import TiledWell
    from noise_mm.scale import REFERENCE_UM_PER_PX

    batches = []
    for windows in TiledWell.of(slide, REFERENCE_UM_PER_PX, settings).rows:
        tiles = list(slide.windows(windows))
        for first in range(0, len(tiles), settings.batch_size):
            prepared = detector.prepare(tiles[first : first + settings.batch_size])
            inputs = detector.model.data_preprocessor(prepared, False)['inputs']
            batches.append(inputs.contiguous(memory_format=torch.channels_last))

    def run() -> None:
        on_gpu = detector.device.type == 'cuda'
        with torch.inference_mode(), torch.autocast(detector.device.type, enabled=on_gpu):
            for inputs in batches:
                detector.model(inputs, mode='tensor')

    return run


def by_us(slide: 'Slide', detector: 'TileDetector', settings: 'TileSettings') -> int:
    """Do what tools/predict.py does before it writes files."""
    from noise_mm.inference.predict_well import predict_well
    from noise_mm.scale import REFERENCE_UM_PER_PX

    with contextlib.redirect_stderr(io.StringIO()):  # lines of progress
        result = predict_well(slide, detector, detector.classes, REFERENCE_UM_PER_PX, settings, 'well')
    return len(result.outlines)


class Found(NamedTuple):
    """One object in one patch."""

    box: list[float]  # x1, y1, x2, y2 in pixels of the patch
    score: float
    label: int
    mask: 'np.ndarray'  # (height, width) bool, of the whole patch


def found_in(patch: 'np.ndarray', detector: 'TileDetector') -> Iterator[Found]:
    """Return what the network finds in one patch, with masks as other programs have them: of the size of the patch."""
    from pycocotools import mask as coco_mask

    found = detector.infer(detector.prepare([patch]))[0]
    height, width = patch.shape[:2]
    masks = [coco_mask.decode(region.to_rle(height, width)).astype(bool) for region in found.masks]
    rows = zip(found.bboxes.tolist(), found.scores.tolist(), found.labels.tolist(), masks, strict=True)
    return (Found(*row) for row in rows)


def patch_after_patch(slide: 'Slide', detector: 'TileDetector', settings: 'TileSettings') -> int:
    """Predict by the scheme of the published script, written from its description.

    The image is held in memory as a whole, patches are cut from it and predicted one at a time, and of boxes of
    neighbouring patches that overlap the larger one is kept.
    """
    from noise_mm.geometry.tiles import window_grid

    pixels = slide.read(0, 0, slide.width_px, slide.height_px)
    boxes_of: dict[tuple[int, int], list[tuple[float, float, float, float]]] = {}
    for window in window_grid(slide.width_px, slide.height_px, settings.tile_px, settings.stride_px):
        patch = pixels[window.y : window.y + window.height, window.x : window.x + window.width].copy()
        boxes = []
        for found in found_in(patch, detector):
            if found.mask.any():
                x1, y1, x2, y2 = found.box
                boxes.append((x1 + window.x, y1 + window.y, x2 + window.x, y2 + window.y))
        boxes_of[window.row, window.column] = boxes
    return sum(len(_largest(boxes_of, place)) for place in boxes_of)


def _largest(
    boxes_of: dict[tuple[int, int], list[tuple[float, float, float, float]]], place: tuple[int, int]
) -> list[tuple[float, float, float, float]]:
    """Return the boxes of one patch that overlap no larger one of its neighbours."""
    row, column = place
    around = [(row + down, column + right) for down in (-1, 0, 1) for right in (-1, 0, 1) if down or right]
    others = [box for other in around for box in boxes_of.get(other, ())]
    return [
        box
        for box in boxes_of[place]
        if not any(
            box[0] < other[2]
            and other[0] < box[2]
            and box[1] < other[3]
            and other[1] < box[3]
            and (box[2] - box[0]) * (box[3] - box[1]) < (other[2] - other[0]) * (other[3] - other[1])
            for other in others
        )
    ]


def by_sahi(slide: 'Slide', detector: 'TileDetector', settings: 'TileSettings') -> Callable[[], int]:
    """Return SAHI's sliced prediction with its default merging; masks are polygons, as in its own adapters."""
    import numpy as np
    from sahi.models.base import DetectionModel
    from sahi.predict import get_sliced_prediction
    from sahi.prediction import ObjectPrediction
    from sahi.utils.cv import get_coco_segmentation_from_bool_mask

    class Adapter(DetectionModel):
        """The detector as SAHI wants it."""

        def set_model(self, model: 'TileDetector') -> None:
            self.model = model
            self.category_mapping = {str(i): name for i, name in enumerate(model.classes)}

        def perform_inference(self, image: 'np.ndarray') -> None:
            self._original_predictions = [list(found_in(np.ascontiguousarray(image), self.model))]

        def _create_object_prediction_list_from_original_predictions(
            self, shift_amount_list: list | None = None, full_shape_list: list | None = None
        ) -> None:
            shift, shape = shift_amount_list or [0, 0], full_shape_list
            shift = shift[0] if isinstance(shift[0], list | tuple) else shift
            shape = shape[0] if shape and isinstance(shape[0], list | tuple) else shape
            self._object_prediction_list_per_image = [
                [
                    ObjectPrediction(
                        bbox=found.box,
                        category_id=found.label,
                        score=found.score,
                        segmentation=get_coco_segmentation_from_bool_mask(found.mask),
                        category_name=self.category_mapping[str(found.label)],
                        shift_amount=shift,
                        full_shape=shape,
                    )
                    for found in predictions
                    if found.mask.any()
                ]
                for predictions in self._original_predictions
            ]

    model = Adapter(model=detector, device=str(detector.device), confidence_threshold=detector.score_thr)

    def run() -> int:
        pixels = slide.read(0, 0, slide.width_px, slide.height_px)
        tile_px = settings.tile_px
        with contextlib.redirect_stdout(io.StringIO()):
            result = get_sliced_prediction(
                pixels,
                model,
                slice_height=tile_px,
                slice_width=tile_px,
                overlap_height_ratio=SAHI_OVERLAP,
                overlap_width_ratio=SAHI_OVERLAP,
                perform_standard_pred=False,
                verbose=0,
            )
        return len(result.object_prediction_list)

    return run


def report(slide: 'Slide', settings: 'TileSettings', runs: dict[str, list[Run]]) -> str:
    """Return the size of the well, and a table with a row for each scheme."""
    from noise_mm.geometry.tiles import window_grid

    tiles = len(window_grid(slide.width_px, slide.height_px, settings.tile_px, settings.stride_px))
    mpx = slide.width_px * slide.height_px / 1e6
    rows = []
    for name, each in runs.items():
        wall_s, cpu_s = (statistics.median(getattr(run.took, clock) for run in each) for clock in ('wall_s', 'cpu_s'))
        share = median_ratio(*([run.took.cpu_s for run in run_list] for run_list in (runs[BARE], each)))
        cells = each[-1].result
        per_tile = [1e3 * wall_s / tiles, 1e3 * cpu_s / tiles]
        rows.append([name, *per_tile, mpx / wall_s, share, '' if cells is None else cells])
    header = [
        '',
        'ms per tile',
        'ms of CPU per tile',
        'MPx/s of the well',
        "share of the bare pass's CPU time",
        'cells',
    ]
    size = f'{slide.width_px} x {slide.height_px} px, {tiles} tiles of {settings.tile_px} px, medians'
    return f'{size}\n{table(header, rows)}'


if __name__ == '__main__':
    run_command(main)
