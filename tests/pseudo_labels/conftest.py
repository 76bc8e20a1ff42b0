"""Drawn patches with nuclei of known place and brightness, and a network that finds them without training."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from scipy import ndimage

import noise_mm.register  # noqa: F401
from noise_mm.coco.batch_folder import image_entry, write_batch
from noise_mm.pseudo_labels.batches import read_batches
from noise_mm.pseudo_labels.labeller import NucleusLabeller
from noise_mm.pseudo_labels.labelling import label_batches
from noise_mm.pseudo_labels.weak_nuclei import LabelSettings

from mmdet.models import BaseDetector  # isort: skip  (after noise_mm, which makes MMDetection importable)
from mmengine.structures import InstanceData  # isort: skip
from mmyolo.registry import MODELS  # isort: skip

SIZE_PX = 96
DOT_PX = 4
BOX_PX = 12.0
WELLS = ('w0', 'w1', 'w2')
# Brightness of a nucleus / 255 is its confidence. The dim ones are dirt: the hand-marked truth has only the others.
BRIGHT, MIDDLE, DIM = 230, 180, 100
CLASSES = {'nucleus': 2, 'osteoclast': 1}


@MODELS.register_module(force=True)
class DotDetector(BaseDetector):
    """Finds bright dots on dark ground; confidence is their brightness times `gain`."""

    def __init__(self, test_cfg: dict | None = None, **kwargs: object) -> None:
        super().__init__(data_preprocessor={'type': 'mmdet.DetDataPreprocessor'})
        self.gain = torch.nn.Parameter(torch.ones(1))

    def predict(self, inputs: torch.Tensor, samples: list) -> list:
        for image, sample in zip(inputs.float().mean(1).numpy(), samples, strict=True):
            marks, _ = ndimage.label(image > 40)
            places = ndimage.find_objects(marks)
            boxes = [[x.start, y.start, x.stop, y.stop] for y, x in places]
            scores = [float(image[place].max()) / 255 * float(self.gain) for place in places]
            sample.pred_instances = InstanceData(
                bboxes=torch.tensor(boxes).float().reshape(-1, 4) / sample.scale_factor[0],
                scores=torch.tensor(scores).reshape(-1),
                labels=torch.zeros(len(boxes), dtype=torch.long),
            )
        return samples

    def loss(self, *args: object) -> dict:
        raise NotImplementedError

    _forward = extract_feat = loss


def dots_of(rng: np.random.Generator) -> np.ndarray:
    """(9, 3) x, y, brightness of dots on a grid, so that none touch."""
    grid = np.stack(np.meshgrid([16, 48, 80], [16, 48, 80]), axis=-1).reshape(-1, 2)
    brightness = rng.choice([BRIGHT, MIDDLE, DIM], 9)
    brightness[:3] = [BRIGHT, MIDDLE, DIM]  # each at least once
    return np.column_stack([grid + rng.integers(-8, 8, (9, 2)), brightness])


def picture_of(dots: np.ndarray) -> np.ndarray:
    picture = np.zeros((SIZE_PX, SIZE_PX, 3), np.uint8)
    for x, y, brightness in dots.tolist():
        picture[y - DOT_PX // 2 : y + DOT_PX // 2, x - DOT_PX // 2 : x + DOT_PX // 2] = brightness
    return picture


def write_patches(folder: Path, batch: str, kind: str, seed: int, prefix: str = '') -> dict[str, np.ndarray]:
    """A folder of one patch for each well, with osteoclasts or marked nuclei; gives the dots of each file."""
    rng = np.random.default_rng(seed)
    (folder / 'images').mkdir(parents=True, exist_ok=True)
    images, annotations, dots = [], [], {}
    for number, well in enumerate(WELLS, start=1):
        name = f'images/{batch}_{well}_0_0.png'
        dots[name] = dots_of(rng)
        cv2.imwrite(str(folder / name), picture_of(dots[name]))
        place = {'batch': batch, 'well': prefix + well, 'x': 0, 'y': 0, 'mpp': 0.7784}
        images.append(image_entry(number, name, SIZE_PX, SIZE_PX, **place))
        marked = dots[name][dots[name][:, 2] > DIM] if kind == 'nucleus' else dots[name][:2]
        side = BOX_PX if kind == 'nucleus' else 40
        for x, y in marked[:, :2].tolist():
            x1, y1, x2, y2 = np.clip([x - side / 2, y - side / 2, x + side / 2, y + side / 2], 0, SIZE_PX).tolist()
            annotations.append(
                {
                    'id': len(annotations) + 1,
                    'image_id': number,
                    'category_id': CLASSES[kind],
                    'iscrowd': int(kind == 'osteoclast' and len(annotations) % 3 == 2),
                    'bbox': [x1, y1, x2 - x1, y2 - y1],
                    'area': (x2 - x1) * (y2 - y1),
                    'segmentation': [[x1, y1, x2, y1, x2, y2, x1, y2]],
                    'cell': 7,
                }
            )
    wells = [{'well': prefix + well, 'width': 1, 'height': 1, 'mpp': None, 'source': ''} for well in WELLS]
    write_batch(folder, images, annotations, wells)
    return dots


@pytest.fixture
def culture(tmp_path: Path) -> SimpleNamespace:
    """`root` with batches M1, M2 and marked nuclei of M1; `dots[batch][file_name]`."""
    root = tmp_path / 'data'
    dots = {batch: write_patches(root / batch, batch, 'osteoclast', seed) for seed, batch in enumerate(('M1', 'M2'))}
    dots['nuclei'] = write_patches(root / 'nuclei', 'M1', 'nucleus', 9, prefix='M1-')
    return SimpleNamespace(root=root, dots=dots)


@pytest.fixture
def config(culture: SimpleNamespace) -> Config:
    """Of the stand-in detector."""
    pipeline = [
        {'type': 'LoadPatch'},
        {'type': 'FitPatch', 'network_size_px': SIZE_PX},
        {
            'type': 'mmdet.PackDetInputs',
            'meta_keys': ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'pad_param', 'instances'),
        },
    ]
    dataset = {
        'type': 'NucleiDataset',
        'data_root': str(culture.root),
        'batches': ['M1', 'M2'][:1],
        'split': 'val',
        'split_unit': 'well',
        'val_fraction': 0.4,
        'pipeline': pipeline,
        'test_mode': True,
    }
    return Config(
        {
            'default_scope': 'mmyolo',
            'model': {'type': 'DotDetector', 'test_cfg': {'nms': {'iou_threshold': 0.7}}},
            'classes': ('nucleus',),
            'train_batches': ['M1', 'M2'],
            'network_size_px': SIZE_PX,
            'val_dataloader': {'dataset': dataset, 'batch_size': 2, 'num_workers': 0},
        }
    )


@pytest.fixture
def write_checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """Writes a checkpoint of the stand-in detector."""

    def write(name: str = 'best.pth', gain: float = 1.0, **meta: object) -> Path:
        meta = {'dataset_meta': {'classes': ('nucleus',)}, 'cfg': "train_batches = ['M1', 'M2']\nfold = None\n"} | meta
        torch.save({'state_dict': {'gain': torch.tensor([gain])}, 'meta': meta}, tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture
def label(culture: SimpleNamespace, config: Config, write_checkpoint: Callable) -> Callable[..., list[str]]:
    """`label(**settings)` labels M1 and M2 and gives the batches that were written."""

    def start(
        checkpoint: Path | None = None, batches: tuple[str, ...] = ('M1', 'M2'), force: bool = False, **settings: object
    ) -> list[str]:
        chosen = LabelSettings(**{'box_px': BOX_PX} | settings)
        found, _ = read_batches(culture.root, batches)
        labeller = NucleusLabeller(config, checkpoint or write_checkpoint(), torch.device('cpu'), chosen, 2)
        return label_batches(labeller, found, culture.root, 'pseudo', force)

    return start
