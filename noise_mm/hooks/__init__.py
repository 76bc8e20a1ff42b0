"""Hooks of the training. Importing this registers them with MMYOLO."""

from noise_mm.hooks.best_checkpoint_hook import BestCheckpointHook
from noise_mm.hooks.close_mosaic_hook import CloseMosaicHook
from noise_mm.hooks.early_stopping_hook import ResumableEarlyStoppingHook
from noise_mm.hooks.epoch_seed_hook import EpochSeedHook
from noise_mm.hooks.finite_loss_hook import FiniteLossHook
from noise_mm.hooks.nuclei_pseudo_label_hook import NucleiPseudoLabelHook
from noise_mm.hooks.schedule_hook import YOLOv8ScheduleHook
from noise_mm.hooks.step_ema_hook import StepEMAHook
