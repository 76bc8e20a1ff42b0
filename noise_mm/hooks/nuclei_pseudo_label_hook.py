"""End of stage 1: its best weights label the patches that stage 2 trains on."""

import logging
from collections.abc import Sequence
from pathlib import Path

from mmengine.dist import barrier
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmyolo.registry import HOOKS

from noise_mm.errors import InputError
from noise_mm.geometry.distinct_nuclei import MIN_DISTANCE_PX
from noise_mm.pseudo_labels.batches import read_batches
from noise_mm.pseudo_labels.labeller import NucleusLabeller
from noise_mm.pseudo_labels.labelling import label_batches
from noise_mm.pseudo_labels.weak_nuclei import BOX_PX, LabelSettings
from noise_mm.stages import BEST_NAME
from noise_mm.training.runner import image_passes


@HOOKS.register_module()
class NucleiPseudoLabelHook(Hook):
    """Writes `<data_root>/<pseudo_dir>/<batch>.json` when the training of a detector of nuclei has ended.

    The weights are those of `best.pth` in the work folder: averaged weights of the best epoch. What is up to date is
    skipped, so a run that was cut while it labelled goes on there when it is resumed. See `noise_mm.pseudo_labels`.

    Batches are read and checked before the training begins. One that has no folder is not labelled, and a warning says
    so at the beginning and at the end: nuclei may be marked in batches whose osteoclasts are not (yet) at hand.

    Args:
        batches: The batches to label.
        data_root: Folder of the batch folders.
        pseudo_dir: Folder of the files, below `data_root`.
        score_thr: See `LabelSettings`, as the next three.
        uncertain_from: See there.
        box_px: See there.
        min_distance_px: See there.
        batch_size: Patches that the network sees at a time, on each rank; None for that of the validation.

    Raises:
        InputError: If a setting is out of range.
    """

    priority = 'LOWEST'  # all other hooks have then ended their work

    def __init__(
        self,
        batches: Sequence[str],
        data_root: str,
        pseudo_dir: str = 'pseudo',
        score_thr: float | None = None,
        uncertain_from: float | None = None,
        box_px: float | str = BOX_PX,
        min_distance_px: float = MIN_DISTANCE_PX,
        batch_size: int | None = None,
    ) -> None:
        self.batches = list(batches)
        self.data_root = data_root
        self.pseudo_dir = pseudo_dir
        self.settings = LabelSettings(score_thr, uncertain_from, box_px, min_distance_px)
        self.batch_size = batch_size

    def before_train(self, runner: Runner) -> None:
        """Refuses faulty batches before any time is spent on training, and names missing ones."""
        self._warn(read_batches(self.data_root, self.batches)[1])

    def after_train(self, runner: Runner) -> None:
        """Labels the batches."""
        barrier()  # the first rank may still be writing the best checkpoint
        found, missing = read_batches(self.data_root, self.batches)
        best = Path(runner.work_dir) / BEST_NAME
        if not best.is_file():
            raise InputError(
                f'{best}: the run has kept no best checkpoint, so nothing can label nuclei. '
                'Set best_metric, or set default_hooks.pseudo_labels=None.'
            )
        if found:
            device = next(runner.model.parameters()).device
            labeller = NucleusLabeller(runner.cfg, best, device, self.settings, self.batch_size)
            if labeller.facts['training']:  # to the end, not only to the best epoch
                passes = image_passes(runner, runner.epoch)
                labeller.facts['training'] |= {'epochs': runner.epoch, 'image_passes': passes}
            label_batches(labeller, found, self.data_root, self.pseudo_dir)
        self._warn(missing)

    def _warn(self, missing: Sequence[str]) -> None:
        if missing:
            print_log(
                f'{self.data_root}: no batch {", ".join(missing)}; its nuclei will not be labelled, and stage 2 will '
                'refuse to train on it. Extract it with data_prep/extract_patches.py and run tools/pseudo_label.py.',
                logger='current',
                level=logging.WARNING,
            )
