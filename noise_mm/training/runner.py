"""MMEngine's runner, with what can only be chosen when the data are known."""

import copy
import errno
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.dist import is_main_process
from mmengine.hooks import EMAHook
from mmengine.logging import MMLogger
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmengine.registry import RUNNERS
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, Runner, find_latest_checkpoint
from torch import nn
from torch.utils.data import DataLoader

from noise_mm import seen_batches
from noise_mm.checkpoints import provenance
from noise_mm.checkpoints.loading import check_resumable, initial_text, load_initial
from noise_mm.compat.checkpoint_loading import local_copy
from noise_mm.configuration import fill
from noise_mm.datasets.patch_datasets import nested_datasets
from noise_mm.errors import InputError
from noise_mm.evaluation.metric_names import require_produced
from noise_mm.evaluation.seen_mark import marked
from noise_mm.files import write_json
from noise_mm.models.yolov8_ins_head import YOLOv8InsHead
from noise_mm.seen_batches import Seen, batches_of, seen_by_config, seen_in_test, through
from noise_mm.stages import COCO, can_resume, initial_checkpoints
from noise_mm.training.console import ConsoleHook, shorten_console
from noise_mm.training.freed_memory import keep_freed_memory
from noise_mm.training.optimizer import NOMINAL_BATCH_SIZE, SummedGradients, choose_optimizer, iterations_per_step

INITIAL_WEIGHTS_FILE = 'initial_weights.json'


@RUNNERS.register_module()  # MMEngine's own registry, where MMDetection's tools look
class YOLOv8Runner(Runner):
    """Chooses the optimizer by the number of iterations, and scales weight decay and learning rate with the batch.

    An optimizer of type `auto` becomes the one of `choose_optimizer`; any other is taken as it stands. Weight decay is
    scaled by MMYOLO's `YOLOv5OptimizerConstructor` for batches that aren't a divisor of the nominal one, and applies to
    weights only, not to normalisation and biases.

    `from_cfg` fills in the config, see `noise_mm.configuration`. A training starts from `init_checkpoints`, or where
    nobody has set it from what `init_from` names, see `noise_mm.stages`.

    A small dataset wants more steps than one every 64 images: `nominal_batch_size` of the config lowers that number.
    """

    _is_training = False
    _is_testing = False
    # Complete when training begins; see `noise_mm.seen_batches` and `noise_mm.checkpoints.provenance`.
    seen_batches: Mapping[str, str] = MappingProxyType({})
    training: Mapping[str, Any] = MappingProxyType({})

    @classmethod
    def from_cfg(cls, cfg: Config | ConfigDict) -> 'YOLOv8Runner':
        """Build a runner from a config, filled in.

        Raises:
            InputError: If the config cannot be filled in.
        """
        cfg = copy.deepcopy(cfg)
        fill(cfg)
        if cfg.get('load_from'):
            cfg['load_from'] = str(local_copy(cfg['load_from']))
        return super().from_cfg(cfg)

    def setup_env(self, env_cfg: Mapping[str, Any]) -> None:
        """Set up the environment as the parent does, but fork processes on Linux only, unless the config says so.

        Windows cannot fork, and libraries of macOS may crash in forked processes.
        """
        start_method = 'fork' if sys.platform == 'linux' else 'spawn'
        super().setup_env({**env_cfg, 'mp_cfg': {'mp_start_method': start_method, **env_cfg.get('mp_cfg', {})}})

    @property
    def total_batch_size(self) -> int:
        """Images per iteration over all devices."""
        return self.train_dataloader.batch_size * self.world_size

    @property
    def nominal_batch_size(self) -> int:
        """Images per step of the optimizer."""
        return self.cfg.get('nominal_batch_size', NOMINAL_BATCH_SIZE)

    @property
    def iterations_per_step(self) -> int:
        """Iterations whose gradients are summed, once warm-up is over."""
        return iterations_per_step(self.total_batch_size, self.nominal_batch_size)

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Build the logger as the parent does, with a console that fits a screen."""
        logger = super().build_logger(*args, **kwargs)
        shorten_console(logger)
        return logger

    def build_optim_wrapper(self, optim_wrapper: OptimWrapper | dict) -> OptimWrapper:
        """As in the parent, after the choices named above."""
        if isinstance(optim_wrapper, dict) and isinstance(optim_wrapper.get('optimizer'), dict):
            optim_wrapper = ConfigDict(optim_wrapper)
            optimizer = optim_wrapper.optimizer
            if optimizer.type == 'auto':
                chosen = choose_optimizer(
                    len(self.train_dataloader.dataset),
                    self.total_batch_size,
                    self.max_epochs,
                    self._num_classes(),
                    self.nominal_batch_size,
                )
                self.logger.info(f'optimizer=auto: {chosen}')
                optimizer.update(chosen)
            if optim_wrapper.get('constructor') == 'YOLOv5OptimizerConstructor':
                optimizer.batch_size_per_gpu = self.train_dataloader.batch_size
                own = optim_wrapper.get('paramwise_cfg') or {}
                optim_wrapper.paramwise_cfg = {'base_total_batch_size': self.nominal_batch_size, **own}
                if len(optim_wrapper.paramwise_cfg) > 1:
                    raise InputError(
                        f'optim_wrapper.paramwise_cfg has {", ".join(own)}, which YOLOv5OptimizerConstructor does not '
                        "know. Set constructor='DefaultOptimWrapperConstructor' beside it."
                    )
        wrapper = super().build_optim_wrapper(optim_wrapper)
        if self.iterations_per_step > 1 and not isinstance(wrapper, SummedGradients):
            counts = getattr(wrapper, '_accumulative_counts', 1)
            self.logger.warning(
                f'{type(wrapper).__name__} steps after {counts * self.total_batch_size} images, not after '
                f'nominal_batch_size={self.nominal_batch_size} as YOLOv8OptimWrapper does'
            )
        if isinstance(optim_wrapper, dict) and optim_wrapper.get('constructor') == 'YOLOv5OptimizerConstructor':
            # It leaves normalisation and biases to the optimizer's default, which AdamW has at 0.01.
            for group in wrapper.optimizer.param_groups[1:]:
                group['weight_decay'] = 0.0
        return wrapper

    def scale_lr(self, optim_wrapper: OptimWrapper, auto_scale_lr: dict | None = None) -> None:
        """Scales the learning rate with the images per STEP, which accumulation keeps near the nominal batch.

        The parent takes the images per iteration and would lower the rate of a small batch a second time.
        """
        if not auto_scale_lr or not auto_scale_lr.get('enable', False):
            return
        per_step = self.total_batch_size * self.iterations_per_step
        ratio = per_step / auto_scale_lr['base_batch_size']
        self.logger.info(f'auto-scale-lr: {per_step} images per step, learning rate times {ratio:g}')
        for group in optim_wrapper.optimizer.param_groups:
            group['lr'] *= ratio

    def build_model(self, model: nn.Module | dict) -> nn.Module:
        """Build the model as the parent does, in the form that trains fastest.

        Weights are in channels-last memory format, in which convolutions and normalisations are faster on CPUs and
        what GPUs' half precision asks for; a convolution follows the format of its weights. Activations are not in
        place: autograd would first copy what they overwrite.
        """
        model = super().build_model(model)
        for module in model.modules():
            if isinstance(module, nn.SiLU):
                module.inplace = False
            if isinstance(module, YOLOv8InsHead):
                module.drawable_masks = True  # for the visualization hook
        return model.to(memory_format=torch.channels_last)

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader | Mapping, seed: int | None = None, diff_rank_seed: bool = False
    ) -> DataLoader:
        """Build a loader as the parent does, with at most as many processes as there are processor cores.

        They live on between epochs unless the config says otherwise.
        """
        if isinstance(dataloader, Mapping):
            workers = min(dataloader.get('num_workers', 0), os.cpu_count() or 1)
            dataloader = {'persistent_workers': workers > 0, **dataloader, 'num_workers': workers}
        return Runner.build_dataloader(dataloader, seed, diff_rank_seed)

    def register_default_hooks(self, hooks: Mapping[str, Any] | None = None) -> None:
        """Register the hooks as the parent does; one that is None is left out, whatever its name."""
        known = ('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint')
        hooks = hooks or {}
        super().register_default_hooks(
            {name: hook for name, hook in hooks.items() if hook is not None or name in known}
        )

    def register_hooks(
        self, default_hooks: Mapping[str, Any] | None = None, custom_hooks: Sequence[Any] | None = None
    ) -> None:
        """Register the hooks as the parent does.

        Raises:
            InputError: If two of them average the weights: each would swap them for its own before every validation.
        """
        super().register_hooks(default_hooks, custom_hooks)
        averaging = [type(hook).__name__ for hook in self.hooks if isinstance(hook, EMAHook)]
        if len(averaging) > 1:
            raise InputError(
                f'{" and ".join(averaging)} both average the weights. Remove ours with default_hooks = dict(ema=None), '
                'or change it there instead of adding another.'
            )

    def train(self) -> nn.Module:
        """Train as the parent does; without a GPU, freed memory is kept for the next iteration.

        Raises:
            InputError: If a hook waits for a number that the validation does not produce, or a test batch is trained on
                and the config's setting `allow_seen` is not True.
        """
        self._seen_in_test()
        if not torch.cuda.is_available():
            keep_freed_memory()
        self._is_training, self._is_testing = True, False
        self.register_hook(ConsoleHook())
        return super().train()

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """Call the hooks as the parent does; before the first iteration, check the numbers that they wait for."""
        if fn_name == 'before_train' and self.val_loop is not None:
            classes = self.val_dataloader.dataset.metainfo.get('classes', ())
            for hook in self.hooks:
                for setting in ('save_best', 'monitor'):
                    value = getattr(hook, setting, None)
                    for name in [value] if isinstance(value, str) else value or ():
                        where = f'{type(hook).__name__}: {setting}'
                        require_produced(name, where, self.val_evaluator, classes)
        super().call_hook(fn_name, **kwargs)

    def test(self) -> dict:
        """Test as the parent does, and read nothing but the test data; see `train_loop`.

        Raises:
            InputError: If a test batch is trained on, unless the config's setting `allow_seen` is True. Its
                results are marked then.
        """
        self._test_evaluator = marked(self._test_evaluator, self._seen_in_test())
        self._is_training, self._is_testing = False, True
        try:
            return super().test()
        finally:
            self._is_testing = False

    def _seen_in_test(self) -> list[str]:
        """Return the test batches that the config trains on, if it allows that."""
        tested = batches_of(self.cfg, 'test_dataloader')
        allowed = self.cfg.get('allow_seen', False)
        return seen_in_test(tested, seen_by_config(self.cfg), str(self.cfg.filename), allowed)

    @property
    def train_loop(self) -> BaseLoop | SimpleNamespace | None:
        """The training loop; of a run that only tests, its length alone.

        MMEngine builds the loop, and with it reads all training data, as soon as a hook asks for it, as early stopping
        does in `before_run`, which is called before a test too. A test must run where there are no training data.
        """
        if self._is_testing and isinstance(self._train_loop, dict):
            length = {'max_epochs': sys.maxsize, 'max_iters': sys.maxsize, 'iter': 0, 'epoch': 0}
            return SimpleNamespace(stop_training=False, **{**length, **self._train_loop})
        return super().train_loop

    def load_or_resume(self) -> None:
        """Starts a training from the weights of `init_checkpoints` or `load_from`, as far as they fit, or resumes it.

        A test starts as in the parent: MMEngine calls this before it, too.

        What was loaded from where is logged, and written to `initial_weights.json` in the work folder. A run that was
        cut before its first checkpoint has nothing to resume, and starts as a new one does.

        Raises:
            InputError: If nothing of a checkpoint fits this network, or the checkpoint to resume is not of this run.
        """
        if self._has_loaded or not self._is_training:
            super().load_or_resume()
            return
        model = getattr(self.model, 'module', self.model)
        latest = None
        if self._resume:
            latest = self._load_from or (can_resume(self.work_dir) and find_latest_checkpoint(self.work_dir))
        if latest:
            meta = check_resumable(model, latest)
            super().load_or_resume()
            self.seen_batches = self._seen_batches([meta.get(seen_batches.META_KEY)])
            self.training = meta.get(provenance.META_KEY) or self._training_facts([])
            return
        self._resume = False
        first = [{'file': self._load_from, 'origin': 'load_from'}] if self._load_from else []
        if not first and self.cfg.get('init_checkpoints') is None:
            self.cfg.init_checkpoints = initial_checkpoints(self.cfg)
        self._load_initial(model, first or self.cfg.init_checkpoints)
        # The averaged model was copied before the weights were there; MMEngine's hook takes them over at this call.
        self.call_hook('after_load_checkpoint', checkpoint={'state_dict': model.state_dict()})
        self._has_loaded = True

    def _load_initial(self, model: nn.Module, checkpoints: Sequence[dict[str, str]]) -> None:
        """Loads checkpoints one after the other, later ones over earlier ones, and reports."""
        classes = tuple(self.train_dataloader.dataset.metainfo.get('classes', ()))
        reports = []
        asked = () if self._load_from else self.cfg.get('init_from') or ()
        if COCO in asked and not any(each['origin'] == COCO for each in checkpoints):
            self.logger.warning('no COCO weights were found, this training starts without them')
        for checkpoint in checkpoints:
            reports.append({'origin': checkpoint['origin'], **load_initial(model, checkpoint['file'], classes)})
            self.logger.info(initial_text(reports[-1]))
        loaded = {name for report in reports for name in report['loaded']}
        random = [name for name in model.state_dict() if name not in loaded]
        known = {name for report in reports for name in report['class_rows']}
        random_classes = [name for name in classes if name not in known]
        rows = f', and the rows of {", ".join(random_classes)}' if random_classes else ''
        self.logger.info(f'{len(random)} of {len(model.state_dict())} tensors start at random{rows}')
        for name, module in model.named_modules():
            start = getattr(module, 'init_cfg', None)
            if isinstance(start, dict) and start.get('type') == 'Pretrained':
                self.logger.warning(
                    f'init_cfg of {name or "the model"} loads {start.get("checkpoint")}; those tensors count as random '
                    'above, and which batches they have seen is not recorded. init_from and load_from record it.'
                )
        if is_main_process():
            report = {'checkpoints': reports, 'random': random, 'random_class_rows': random_classes}
            write_json(Path(self.work_dir) / INITIAL_WEIGHTS_FILE, report, indent=1)
        self.training = self._training_facts(reports)
        self.seen_batches = self._seen_batches([through(each['seen_batches'], each['file']) for each in reports])

    def _label_detectors(self) -> list[dict]:
        """Return what the files of nuclei labels say about the detectors that made them."""
        datasets = nested_datasets(self.train_dataloader.dataset)
        return [each for dataset in datasets for each in getattr(dataset, 'label_detectors', ())]

    def _seen_batches(self, before: Sequence[Seen | None]) -> Seen:
        """Return the batches that this training sees, and those that what it starts from has seen."""
        seen_by_labels = sorted(
            {batch for each in self._label_detectors() for batch in each.get('train_batches') or ()}
        )
        found = dict.fromkeys(seen_by_labels, 'trained on by the detector of its nuclei labels')
        for each in before:
            found |= each or {}
        return found | seen_by_config(self.cfg)

    def _training_facts(self, starts: Sequence[Mapping]) -> provenance.Training:
        """Return what the checkpoints say about this training, but its length so far; see `provenance`."""
        labels = [each.get('training') for each in self._label_detectors()]
        return {
            **provenance.training_facts(self.cfg, starts, labels),
            'config': Path(self.cfg.filename).name if self.cfg.filename else None,
            'run_id': None,  # for who keeps a record of the run
            'n_patches': len(self.train_dataloader.dataset),
            'batch_size': self.total_batch_size,
            'seed': self.seed,
            'amp': 'Amp' in type(self.optim_wrapper).__name__,
        }

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """As in the parent, which takes it for granted that several processes have a GPU each."""
        if self.distributed and model_wrapper_cfg is None and not torch.cuda.is_available():
            return MMDistributedDataParallel(module=model)
        return super().wrap_model(model_wrapper_cfg, model)

    def save_checkpoint(self, out_dir: str, filename: str, *args: object, **kwargs: object) -> None:
        """Save as the parent does, with what is known of the training and the batches that it has seen.

        A file of this name is at all times whole, so that a killed run can be resumed.

        Raises:
            InputError: If the disk is full.
        """
        unfinished = f'unfinished_{filename}'
        meta = kwargs.get('meta') or {}
        epochs = meta.get('epoch', self.epoch + 1)  # counted up after the hooks that save at the end of an epoch
        training = {**self.training, 'epochs': epochs, 'image_passes': image_passes(self, epochs)}
        kwargs['meta'] = {
            **meta,
            provenance.META_KEY: training,
            seen_batches.META_KEY: dict(self.seen_batches),
        }
        kwargs['save_param_scheduler'] = kwargs.get('save_param_scheduler', True) and bool(self.param_schedulers)
        try:
            super().save_checkpoint(out_dir, unfinished, *args, **kwargs)
        except OSError as error:
            (Path(out_dir) / unfinished).unlink(missing_ok=True)
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise InputError(f'{out_dir}: the disk is full. Make room and run again with --resume.') from error
            raise
        if is_main_process():
            os.replace(Path(out_dir) / unfinished, Path(out_dir) / filename)

    def _num_classes(self) -> int:
        model = getattr(self.model, 'module', self.model)
        return model.bbox_head.num_classes


def image_passes(runner: Runner, epochs: int) -> int:
    """Return how many samples the network of a runner was trained on in so many epochs."""
    if isinstance(runner.train_loop, EpochBasedTrainLoop):
        return epochs * len(runner.train_dataloader.dataset)
    return runner.iter * runner.train_dataloader.batch_size * runner.world_size
