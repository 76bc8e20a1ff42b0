"""MMEngine's runner, with what can only be chosen when the data are known."""

import os
from pathlib import Path

import torch
from mmengine.config import ConfigDict
from mmengine.dist import is_main_process
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from mmyolo.registry import RUNNERS
from torch import nn

from noise_mm.training.optimizer import NOMINAL_BATCH_SIZE, choose_optimizer, iterations_per_step


@RUNNERS.register_module()
class YOLOv8Runner(Runner):
    """Chooses the optimizer by the number of iterations, and scales weight decay and learning rate with the batch.

    An optimizer of type `auto` becomes the one of `choose_optimizer`; any other is taken as it stands. Weight decay is
    scaled by MMYOLO's `YOLOv5OptimizerConstructor` for batches that aren't a divisor of the nominal one.

    A small dataset wants more steps than one every 64 images: `nominal_batch_size` of the config lowers that number.
    """

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
            optimizer.batch_size_per_gpu = self.train_dataloader.batch_size
            optim_wrapper.paramwise_cfg = {'base_total_batch_size': self.nominal_batch_size}
        return super().build_optim_wrapper(optim_wrapper)

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

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """As in the parent, which takes it for granted that several processes have a GPU each."""
        if self.distributed and model_wrapper_cfg is None and not torch.cuda.is_available():
            return MMDistributedDataParallel(module=model, broadcast_buffers=False)
        return super().wrap_model(model_wrapper_cfg, model)

    def save_checkpoint(self, out_dir: str, filename: str, *args: object, **kwargs: object) -> None:
        """As in the parent, but a file of this name is at all times whole, so that a killed run can be resumed."""
        unfinished = f'unfinished_{filename}'
        super().save_checkpoint(out_dir, unfinished, *args, **kwargs)
        if is_main_process():
            os.replace(Path(out_dir) / unfinished, Path(out_dir) / filename)

    def _num_classes(self) -> int:
        model = getattr(self.model, 'module', self.model)
        return model.bbox_head.num_classes
