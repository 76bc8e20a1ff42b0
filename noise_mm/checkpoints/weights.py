"""Weights that need no config: a file of Ultralytics or of this project, or the name of one in `weights/`.

The network's size, its classes and whether it has masks are read off the tensors; nothing that a file says is executed.
"""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from noise_mm.checkpoints.checkpoint_keys import ours_to_ultralytics
from noise_mm.checkpoints.conversion import ultralytics_to_mmengine
from noise_mm.checkpoints.safe_loading import load_checkpoint_file
from noise_mm.checkpoints.yolov8_size import size_of
from noise_mm.configuration import load_config
from noise_mm.errors import InputError
from noise_mm.stages import CONFIGS, PACKAGE

WEIGHTS = next((folder for folder in (PACKAGE / 'weights', PACKAGE.parent / 'weights') if folder.is_dir()), None)
SEGMENTOR, DETECTOR = 'baseline/yolov8-seg.py', 'noise/pretrain_osteoclast-nuclei_yolov8-l.py'
# What a config tells besides the network itself, and predictions depend on.
SCALE_SETTINGS = ('patch_size_px', 'network_size_px')


@dataclass(frozen=True)
class Weights:
    """Weights ready for use.

    Attributes:
        config: A config that builds their network.
        checkpoint: The file to load; it may be a temporary conversion.
        source: The file that was named or found.
        description: One line for people: size, task and classes.
    """

    config: Config
    checkpoint: Path
    source: Path
    description: str


def known_weights() -> dict[str, Path]:
    """Return the weights that come with this project, by name."""
    return {} if WEIGHTS is None else {path.stem: path for path in sorted(WEIGHTS.glob('*.pth'))}


def find_weights(name: str) -> Path:
    """Return the file that a user named by path or by name.

    Raises:
        InputError: If there is neither such a file nor such a name; the names that exist are listed.
    """
    path = Path(name)
    if path.is_file():
        return path
    known = known_weights()
    if name in known:
        return known[name]
    listed = ', '.join(known) if known else 'none in this installation'
    raise InputError(f'--weights {name}: neither a file nor a name of weights. Known names: {listed}.')


@contextmanager
def opened_weights(name: str, masks: bool = True) -> Iterator[Weights]:
    """Give weights by path or name; conversions last until the block ends.

    Args:
        name: A `.pt` of Ultralytics YOLOv8 (8.0 to 8.3), a `.pth` of this project, or a name of `known_weights`.
        masks: Whether a segmentor is needed; else either will do.

    Raises:
        InputError: If the file is missing or not a YOLOv8, or has no masks where they are needed.
    """
    source = find_weights(name)
    with tempfile.TemporaryDirectory(prefix='noise_mm_') as folder:
        checkpoint = source
        if source.suffix.lower() == '.pt':
            checkpoint = Path(folder) / f'{source.stem}.pth'
            ultralytics_to_mmengine(source, checkpoint)
        weights = _described(source, checkpoint)
        if masks and 'Ins' not in weights.config.model.bbox_head.type:
            raise InputError(
                f'--weights {source}: detects boxes and gives no masks. Name weights of a segmentor (-seg).'
            )
        yield weights


def _described(source: Path, checkpoint: Path) -> Weights:
    """Return weights with the config of their network."""
    content = load_checkpoint_file(checkpoint)
    meta = content.get('meta') if isinstance(content.get('meta'), dict) else {}
    try:
        renamed = ours_to_ultralytics(content['state_dict'])
        size = size_of({key: tuple(value.shape) for key, value in renamed.items()})
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise InputError(
            f'{source}: not a YOLOv8 of this project ({error}). Give its config and checkpoint instead of --weights.'
        ) from error
    if not size.letter:
        raise InputError(
            f'{source}: a YOLOv8 of width {size.widen_factor:g}, none of the sizes n, s, m, l, x. '
            'Give a config of its size and the checkpoint instead of --weights.'
        )
    classes = (meta.get('dataset_meta') or {}).get('classes') or ()
    if len(classes) != size.num_classes:
        classes = ('osteoclast', 'nucleus')[: size.num_classes]
    settings: dict[str, Any] = {'model_size': size.letter, 'classes': list(map(str, classes))}
    settings |= _scale_settings(meta.get('cfg'))
    config = load_config(CONFIGS / (SEGMENTOR if size.masks else DETECTOR), settings)
    what = f'YOLOv8{size.letter}{"-seg" if size.masks else ""}, {size.num_classes} classes: {", ".join(classes)}'
    return Weights(config, checkpoint, source, what.replace('1 classes', '1 class'))


def _scale_settings(text: Any) -> dict[str, int]:
    """Return `SCALE_SETTINGS` from the config text in a checkpoint, which is never executed."""
    line = rf'^({"|".join(SCALE_SETTINGS)}) = (\d{{1,6}})$'
    return {name: int(value) for name, value in re.findall(line, text if isinstance(text, str) else '', re.MULTILINE)}
