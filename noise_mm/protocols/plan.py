"""A protocol as a list of steps, each of which is one of the project's commands. Pure; no files but configs.

    m2m  each mouse batch is tested by what was trained on the others; all stages leave it out
    m2h  trained on all mouse batches, tested on all human ones
    h2h  each human batch is tested by what was trained on the others; stages 1 and 2 are of the mouse batches, and
         the folds share them

The folders are those in which the tools look for them: `<root>/<config>[_<held-out batch>]`.
"""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from noise_mm.command_line import parse_cfg_options
from noise_mm.configuration import load_config
from noise_mm.errors import InputError
from noise_mm.paper_preset import paper_settings
from noise_mm.protocols.methods import METHODS
from noise_mm.seen_batches import Seen, batches_of, refuse_repeated, seen_by_config, seen_in_test, through
from noise_mm.stages import BEST_NAME, CONFIGS, run_name, stage_fold

PSEUDO_FOLDER = 'pseudo'  # of the labels of nuclei, in the folder of all runs
NUCLEI_FOLDER = 'nuclei'  # of the hand-marked nuclei, beside the batches
TRAIN, LABEL, TEST = 'train', 'pseudo_label', 'test'  # the tools, by name


@dataclass(frozen=True)
class Study:
    """What is asked for.

    Attributes:
        protocol: One of `PROTOCOLS`.
        method: One of `METHODS`.
        root: Where the folders of all runs are.
        mouse: Names of the mouse batches; None for those of the configs.
        human: Names of the human batches; None for those of the configs.
        folds: Held-out batches to run; None for all.
        cfg_options: `KEY=VALUE`, see `options_for`.
        amp: Whether to train in mixed precision.
        epochs: Epochs of all stages, or of each stage in turn; None for those of the configs.
        as_paper: Whether to measure, and choose the best epoch, as the paper does.
        allow_seen: Whether a batch may be both trained on and tested.
        name: The method's name in the tables; None for its own.
    """

    protocol: str
    method: str
    root: Path
    mouse: tuple[str, ...] | None = None
    human: tuple[str, ...] | None = None
    folds: tuple[str, ...] | None = None
    cfg_options: tuple[str, ...] = ()
    amp: bool = False
    epochs: tuple[int, ...] | None = None
    as_paper: bool = False
    allow_seen: bool = False
    name: str | None = None

    @property
    def stages(self) -> tuple[str, ...]:
        """The configs of all stages, relative to `configs/`."""
        method = METHODS[self.method]
        return tuple(each for each in (method.detector, method.pretraining, self.config) if each)

    @property
    def config(self) -> str:
        """The config of stage 3, relative to `configs/`."""
        return f'{METHODS[self.method].folder}/{self.method}_{self.protocol}.py'


@dataclass(frozen=True)
class Data:
    """What a study is run on.

    Attributes:
        root: Folder of the batches.
        mouse: Names of the mouse batches.
        human: Names of the human batches; none in m2m.
        folds: The batches that are held out in turn; None stands for a run without.
    """

    root: Path
    mouse: tuple[str, ...]
    human: tuple[str, ...]
    folds: tuple[str | None, ...]

    def missing(self, with_nuclei: bool) -> list[Path]:
        """Annotation files that are not there; of the hand-marked nuclei where these are needed."""
        folders = [*self.mouse, *self.human, *([NUCLEI_FOLDER] if with_nuclei else [])]
        return [file for folder in folders if not (file := self.root / folder / 'annotations.json').is_file()]


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        tool: TRAIN, LABEL or TEST.
        title: What it is, for people.
        config: Relative to `configs/`.
        folder: Of the run that it makes (TRAIN) or whose checkpoint it takes (LABEL, TEST).
        fold: The batch held out.
        options: Further options of the tool but `--cfg-options`.
        cfg_options: `KEY=VALUE`.
        needs: Folders of the runs that it follows from.
    """

    tool: str
    title: str
    config: str
    folder: Path
    fold: str | None = None
    options: tuple[str, ...] = ()
    cfg_options: tuple[str, ...] = ()
    needs: tuple[Path, ...] = ()

    @property
    def best(self) -> Path:
        """The best checkpoint of the run."""
        return self.folder / BEST_NAME

    def arguments(self, config: str | Path, resume: bool = False) -> list[str]:
        """Return the command line after the tool's name.

        Args:
            config: How the config is to be called.
            resume: Go on from the last checkpoint (TRAIN).
        """
        words = [str(config)]
        words += [] if self.tool == TRAIN else [str(self.best)]
        words += ['--fold', self.fold] if self.fold else []
        words += [] if self.tool == LABEL else ['--work-dir', str(self.folder)]
        words += [*self.options, *(['--resume'] if resume else [])]
        return [*words, '--cfg-options', *self.cfg_options] if self.cfg_options else words


@functools.cache
def resolved_config(config: str, cfg_options: tuple[str, ...] = (), fold: str | None = None) -> Config:
    """Return a config of `configs/` as a tool resolves it. Not to be changed: all callers get the same one."""
    return load_config(CONFIGS / config, parse_cfg_options(list(cfg_options)), fold)


def data_of(study: Study) -> Data:
    """Return the data of a study, from its options and else from the configs.

    Raises:
        InputError: If batches don't make up the protocol, a fold is not one of them, or an option can't be followed.
    """
    if study.epochs and len(study.epochs) not in (1, len(study.stages)):
        raise InputError(
            f'--epochs {" ".join(map(str, study.epochs))}: {study.method} has {len(study.stages)} trainings a fold. '
            'Give one number for all, or one for each.'
        )
    config = resolved_config(study.config, options_for(study.config, study))
    trained, tested = tuple(config.train_batches), tuple(config.test_batches)
    stage = METHODS[study.method].pretraining
    of_stage = tuple(resolved_config(stage).train_batches) if stage else ()
    defaults = {'m2m': (trained, ()), 'm2h': (trained, tested), 'h2h': (of_stage, trained)}[study.protocol]
    mouse, human = (
        tuple(given or default) for given, default in zip((study.mouse, study.human), defaults, strict=True)
    )
    _check_batches(study, mouse, human)
    folds = {'m2m': mouse, 'm2h': (None,), 'h2h': human}[study.protocol]
    if study.folds is not None:
        if study.protocol == 'm2h':
            raise InputError('--folds: m2h has no folds, all human batches are tested at once. Leave it out.')
        unknown = [fold for fold in study.folds if fold not in folds]
        if unknown:
            raise InputError(f'--folds {unknown[0]}: not held out in {study.protocol}. Choose of {", ".join(folds)}.')
        folds = tuple(fold for fold in folds if fold in study.folds)
    return Data(Path(config.data_root), mouse, human, folds)


def _check_batches(study: Study, mouse: Sequence[str], human: Sequence[str]) -> None:
    if study.human and study.protocol == 'm2m':
        raise InputError('--human-batches: m2m has none. Leave it out, or run m2h or h2h.')
    if study.mouse and not METHODS[study.method].pretraining and study.protocol == 'h2h':
        raise InputError(f'--mouse-batches: {study.method} has none in h2h. Leave it out.')
    both = sorted({*mouse} & {*human})
    if both and not study.allow_seen:
        raise InputError(
            f'--human-batches {both[0]}: is a mouse batch too. Name it in one of the two options, or add --allow-seen.'
        )
    for name, batches in (('--mouse-batches', mouse), ('--human-batches', human), ('--folds', study.folds)):
        refuse_repeated(name, batches)
    held_out_in_turn = {'m2m': ('--mouse-batches', mouse), 'h2h': ('--human-batches', human)}.get(study.protocol)
    if held_out_in_turn and len(held_out_in_turn[1]) < 2:
        name, batches = held_out_in_turn
        raise InputError(f'{name} {" ".join(batches)}: one is held out in turn, so there must be two or more.')


def plan(study: Study, data: Data) -> list[Step]:
    """Return all commands of a study in their order, those of a fold together; what folds share comes once."""
    steps: dict[tuple[str, Path], Step] = {}
    for fold in data.folds:
        for step in _steps_of_fold(study, data, fold):
            steps.setdefault((step.tool, step.folder), step)
    refuse_seen(list(steps.values()), study.allow_seen)
    return list(steps.values())


def refuse_seen(steps: Sequence[Step], allow_seen: bool) -> None:
    """Refuse a plan in which a batch is tested that one of the stages before is trained on."""
    trainings = {step.folder: step for step in steps if step.tool == TRAIN}

    def seen_by(step: Step) -> Seen:
        found = {}
        for folder in step.needs:
            found |= through(seen_by(trainings[folder]), str(folder))
        return found | seen_by_config(resolved_config(step.config, step.cfg_options, step.fold))

    for step in steps:
        if step.tool == TEST:
            config = resolved_config(step.config, step.cfg_options, step.fold)
            seen = seen_by(trainings[step.folder])
            seen_in_test(batches_of(config, 'test_dataloader'), seen, str(step.folder), allow_seen)


def _steps_of_fold(study: Study, data: Data, fold: str | None) -> list[Step]:
    method, steps = METHODS[study.method], []
    early_fold = fold if fold in data.mouse else None

    def early_options(config: str) -> tuple[str, ...]:
        return (*_setting('train_batches', study.mouse), *options_for(config, study))

    labelled = [batch for batch in data.mouse if batch != early_fold]
    if method.detector:
        options = early_options(method.detector)
        detector = _training('stage 1', method.detector, study, early_fold, options)
        labels = Step(
            LABEL,
            f'nuclei labels{_without(early_fold)}',
            method.detector,
            detector.folder,
            early_fold,
            ('--data-root', str(data.root), '--batches', *labelled),
            options,
            (detector.folder,),
        )
        steps += [detector, labels]
    if method.pretraining:
        needs = (steps[0].folder,) if steps else ()
        options = early_options(method.pretraining)
        steps.append(_training('stage 2', method.pretraining, study, early_fold, options, needs))
    needs = (steps[-1].folder,) if steps else ()
    options = _stage_3_options(study, needs, fold, early_fold)
    last = _training('stage 3' if steps else 'training', study.config, study, fold, options, needs)
    flags = (*_allow_seen(study), *(('--name', study.name) if study.name else ()))
    test = Step(TEST, f'test{_on(fold)}', last.config, last.folder, fold, flags, options, (last.folder,))
    return [*steps, last, test]


def _training(
    name: str,
    config: str,
    study: Study,
    fold: str | None,
    cfg_options: tuple[str, ...],
    needs: tuple[Path, ...] = (),
) -> Step:
    folder = study.root / run_name(config, fold)
    options = (*(('--amp',) if study.amp else ()), *_allow_seen(study))
    return Step(TRAIN, f'{name}{_without(fold)}', config, folder, fold, options, cfg_options, needs)


def _allow_seen(study: Study) -> tuple[str, ...]:
    return ('--allow-seen',) if study.allow_seen else ()


def _stage_3_options(
    study: Study, needs: tuple[Path, ...], fold: str | None, early_fold: str | None
) -> tuple[str, ...]:
    """Return batches where they are not those of the config, and stage 2 where the config expects it elsewhere."""
    trained = study.human if study.protocol == 'h2h' else study.mouse
    options = _setting('train_batches', trained)
    if study.protocol == 'm2h':
        options += _setting('test_batches', study.human)
    if needs:
        stage = METHODS[study.method].pretraining
        if stage_fold(resolved_config(stage), fold) != early_fold:
            checkpoint = str(needs[0] / BEST_NAME)
            starts = resolved_config(study.config).init_from
            options += _setting('init_from', [checkpoint if each == stage else each for each in starts])
    return (*options, *options_for(study.config, study))


def options_for(config: str, study: Study) -> tuple[str, ...]:
    """Return the settings of the study for this config: its epochs, where labels of nuclei are, and its `KEY=VALUE`.

    Labels lie below the folder of all runs, so that studies in other folders have others. Of `KEY=VALUE` a dotted one,
    such as `default_hooks.pseudo_labels.score_thr=0.3`, is for the configs that have `default_hooks.pseudo_labels`; if
    none of the study has it, it is for all.
    """
    configs = study.stages
    chosen = []
    if study.as_paper:
        chosen += [f'{key}={value}' for key, value in paper_settings(resolved_config(config)).items()]
    if study.epochs:
        chosen.append(f'max_epochs={study.epochs[min(configs.index(config), len(study.epochs) - 1)]}')
    if METHODS[study.method].detector and config != study.config:
        chosen.append(f'pseudo_dir={(study.root / PSEUDO_FOLDER).absolute().as_posix()}')
    for option in study.cfg_options:
        parent = option.partition('=')[0].rpartition('.')[0]
        parent = re.sub(r'^hooks\b', 'default_hooks', parent)  # the older name
        having = [each for each in configs if _has(resolved_config(each), parent)]
        if config in having or not having:
            chosen.append(option)
    return tuple(chosen)


def _has(config: Config, dotted: str) -> bool:
    node = config
    for part in filter(None, dotted.split('.')):
        if isinstance(node, list | tuple) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, Config | dict) and node.get(part) is not None:
            node = node[part]
        else:
            return False
    return True


def _setting(key: str, values: Sequence[str] | None) -> tuple[str, ...]:
    return (f'{key}=[{",".join(values)}]',) if values else ()


def _without(fold: str | None) -> str:
    return f' without {fold}' if fold else ''


def _on(fold: str | None) -> str:
    return f' on {fold}' if fold else ''
