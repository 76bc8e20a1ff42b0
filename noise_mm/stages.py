"""Where a training starts: the ordered list `init_from` of a config, as files.

An entry is the config of an earlier stage, whose best checkpoint is found by convention; 'coco', for weights trained on
COCO; or a checkpoint. Later entries win where they fit; see `noise_mm.checkpoints.loading.load_initial`.
"""

from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config

from noise_mm.configuration import DEFAULT_SIZE, load_config
from noise_mm.errors import InputError

PACKAGE = Path(__file__).resolve().parent
CONFIGS = PACKAGE / 'configs'  # of an installed wheel; in a clone they lie beside the package
if not CONFIGS.is_dir():
    CONFIGS = PACKAGE.parent / 'configs'
BEST_NAME = 'best.pth'  # the best checkpoint of a run, in its folder
FINISHED_FILE = 'finished.json'  # the record of a run that is done, in its folder
LAST_CHECKPOINT_FILE = 'last_checkpoint'  # MMEngine's: names the checkpoint that a resumed run goes on from
COCO = 'coco'
COCO_FOLDER = Path('checkpoints')


def run_name(config_path: str | Path, fold: str | None) -> str:
    """The name of a run's folder: that of its config and of the batch that is held out."""
    return Path(config_path).stem + (f'_{fold}' if fold else '')


def stage_config(entry: str) -> Path:
    """The config file of a stage that `init_from` names, relative to the current folder or to `configs/`.

    Raises:
        InputError: If there is no such file.
    """
    for path in (Path(entry), CONFIGS / entry):
        if path.is_file():
            return path
    raise InputError(f'init_from: no config {entry}, neither here nor in {CONFIGS}. Correct the path.')


def stage_fold(config: Config, fold: str | None) -> str | None:
    """The fold of an earlier stage: the same one if that stage has the batch at all, else none."""
    batches = {*config.get('train_batches', ()), *config.get('test_batches', ())}
    return fold if fold in batches else None


def can_resume(work_dir: str | Path) -> bool:
    """Whether a run in this folder has written a checkpoint to go on from."""
    return (Path(work_dir) / LAST_CHECKPOINT_FILE).is_file()


def initial_checkpoints(config: Config, given: Sequence[str | Path] | None = None) -> list[dict[str, str]]:
    """The checkpoints that a training starts from, in the order in which they are loaded.

    The best checkpoint of an earlier stage is `best.pth` in the folder beside this run's that has that config's name.
    COCO weights are `checkpoints/yolov8<size>-seg.pth` (segmentors) or `checkpoints/yolov8<size>.pth`, or what the
    setting `coco_checkpoint` names. Where the file of this convention is missing the training does without, and says
    so, because COCO weights can't come with this repository. MMEngine's setting `load_from` replaces `init_from`.

    Args:
        config: From `load_config`, with `work_dir`.
        given: Checkpoints that replace `init_from`.

    Returns:
        `file` and `origin` ('coco', the stage's config, 'load_from' or 'given') of each.

    Raises:
        InputError: If another checkpoint than that one is missing; the message says how to make it. Or if both `given`
            and `load_from` name a start.
    """
    if given and config.get('load_from'):
        raise InputError(f'--init: load_from={config.load_from} names another start. Leave out one of them.')
    if given:
        return [_required(path, 'given', 'Check the path.') for path in given]
    if config.get('load_from'):
        from noise_mm.compat.checkpoint_loading import local_copy

        config.load_from = str(local_copy(config.load_from))
        return [_required(config.load_from, 'load_from', 'Correct load_from.')]
    found = []
    for entry in config.get('init_from') or ():
        if entry == COCO:
            found += _coco_checkpoint(config)
        elif str(entry).endswith('.py'):
            path = stage_config(entry)
            fold = stage_fold(load_config(path), config.get('fold'))
            file = Path(config.work_dir).parent / run_name(path, fold) / BEST_NAME
            command = f'python tools/train.py {_shown(path)}' + (f' --fold {fold}' if fold else '')
            command += '' if file.parent.parent == Path('work_dirs') else f' --work-dir {file.parent}'
            found.append(_required(file, str(entry), f'Train that stage first ({command}), or give it with --init.'))
        else:
            found.append(_required(entry, 'given', 'Correct init_from, or give another with --init.'))
    return found


def _shown(path: Path) -> Path:
    """A path as a user in the current folder would type it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _required(file: str | Path, origin: str, remedy: str) -> dict[str, str]:
    if not Path(file).is_file():
        raise InputError(f'{file}: no such checkpoint. {remedy}')
    return {'file': str(file), 'origin': origin}


def _coco_checkpoint(config: Config) -> list[dict[str, str]]:
    """The COCO weights as a list of one, or of none where they are missing."""
    if config.get('coco_checkpoint'):
        return [_required(config.coco_checkpoint, COCO, 'Correct coco_checkpoint.')]
    is_segmentor = 'Ins' in config.model.bbox_head.type
    name = f'yolov8{config.model.get("size", DEFAULT_SIZE)}' + ('-seg' if is_segmentor else '')
    file = COCO_FOLDER / f'{name}.pth'
    if file.is_file():
        return [{'file': str(file), 'origin': COCO}]
    print(
        f'warning: {file}: no COCO weights, so this training starts without them. To have them, download {name}.pt '
        f'of Ultralytics and run tools/convert_checkpoint.py {name}.pt {file}.'
    )
    return []
