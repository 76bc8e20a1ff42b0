"""A detector of nuclei with its checkpoint, that finds the nuclei of patches on all ranks together."""

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.registry import DefaultScope
from torch.utils.data import DataLoader, Dataset

from noise_mm.checkpoints.loading import load_weights
from noise_mm.checkpoints.provenance import training_of
from noise_mm.checkpoints.weights_digest import weights_digest
from noise_mm.coco.pseudo_file import NUCLEUS
from noise_mm.datasets.transforms import with_patch_loader
from noise_mm.errors import InputError
from noise_mm.pseudo_labels.weak_nuclei import LabelSettings, WeakNuclei, weak_nuclei
from noise_mm.seen_batches import seen_by_checkpoint, trained_batches


class NucleusLabeller:
    """Finds nuclei in patches.

    Args:
        config: Of the detector, from `load_config`: `model`, and the pipeline of its validation data.
        checkpoint: Its weights.
        device: Where it runs.
        settings: How detections become labels.
        batch_size: Patches that the network sees at a time, on each rank; None for that of the validation.

    Attributes:
        facts: Of the detector, for the pseudo-label files: `checkpoint`, `config`, `train_batches` (all that it has
            seen), `fold` and `training` (see `noise_mm.checkpoints.provenance`).
        made_from: What the nuclei of a patch follow from: digest of the weights and all settings.

    Raises:
        InputError: If the config is not of a detector of nuclei, or the checkpoint is not of its network or was
            trained on other batches than the config says.
    """

    def __init__(
        self,
        config: Config,
        checkpoint: str | Path,
        device: torch.device,
        settings: LabelSettings,
        batch_size: int | None = None,
    ) -> None:
        if 'model' not in config or not config.get('val_dataloader'):
            raise InputError(f"{config.filename}: no detector with validation data. Give stage 1's config.")
        self.config, self.settings, self.device = config, settings, device
        self.batch_size = batch_size or config.val_dataloader.get('batch_size', 1)
        model = copy.deepcopy(config.model)
        test_cfg = model.get('test_cfg') or {}
        if 'multi_label' in test_cfg:
            test_cfg['multi_label'] = False  # a place is a nucleus or something else, not both
        if model.get('type') in ('YOLODetector', 'YOLOv8Detector'):
            model['use_syncbn'] = False  # of no use without training, and fails without a GPU
        with DefaultScope.overwrite_default_scope(config.get('default_scope') or 'mmdet'):
            self.pipeline = Compose(with_patch_loader(config.val_dataloader.dataset.pipeline))
            self.model = MODELS.build(model)
        meta = load_weights(self.model, checkpoint)
        self.label = _nucleus_label(config, meta)
        self.facts = _facts(config, checkpoint, meta)
        self.made_from = {
            'weights_sha256': weights_digest(self.model.state_dict()),
            'network_size_px': config.get('network_size_px'),
            'box_px': settings.box_px,
            'min_distance_px': settings.min_distance_px,
            'detector_test_cfg': _plain(test_cfg),
        }
        self.model.to(device).eval()

    def __call__(
        self, records: Sequence[Mapping], least: float = 0.0, progress: Callable[[int], None] | None = None
    ) -> list[WeakNuclei]:
        """Return the nuclei of each patch, on every rank.

        Each rank takes whole batches in turn, so that the network sees the same batches whatever the number of ranks.

        Args:
            records: Patches, as the datasets describe them.
            least: Nuclei of less confidence are left out.
            progress: Called with the number of patches that this rank has finished.

        Raises:
            InputError: If a patch can't be read.
        """
        batches = [range(i, min(i + self.batch_size, len(records))) for i in range(0, len(records), self.batch_size)]
        mine = batches[get_rank() :: get_world_size()]
        patches = _Patches(records, self.pipeline)
        num_workers = self.config.val_dataloader.get('num_workers', 0)
        loader = DataLoader(patches, batch_sampler=mine, num_workers=num_workers, collate_fn=pseudo_collate)
        found: dict[int, WeakNuclei] = {}
        for indices, batch in zip(mine, loader, strict=True):
            with torch.no_grad():
                samples = self.model.test_step(batch)
            for index, sample in zip(indices, samples, strict=True):
                found[index] = self._weak_nuclei(sample).from_score(least)
            if progress is not None:
                progress(len(indices))
        gathered = {index: each for part in all_gather_object(found) for index, each in part.items()}
        return [gathered[index] for index in range(len(records))]

    def _weak_nuclei(self, sample: Any) -> WeakNuclei:
        detected = sample.pred_instances
        detected = detected[detected.labels == self.label]
        height, width = sample.ori_shape[:2]
        boxes, scores = detected.bboxes.cpu().numpy(), detected.scores.cpu().numpy()
        return weak_nuclei(boxes, scores, (width, height), self.settings.box_px, self.settings.min_distance_px)


class _Patches(Dataset):
    """Patches as the network takes them."""

    def __init__(self, records: Sequence[Mapping], pipeline: Callable) -> None:
        self.records, self.pipeline = records, pipeline

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> dict:
        return self.pipeline(copy.deepcopy(dict(self.records[index])))


def _plain(settings: Mapping) -> dict:
    """Return settings as they are in a JSON file."""
    return {key: _plain(value) if isinstance(value, Mapping) else value for key, value in settings.items()}


def _nucleus_label(config: Config, meta: Mapping) -> int:
    """Return the index of the class nucleus, by the checkpoint or else by the config."""
    names = (meta.get('dataset_meta') or {}).get('classes') or config.get('classes') or ()
    names = [names] if isinstance(names, str) else list(names)
    if NUCLEUS not in names:
        raise InputError(
            f'{config.filename}: its classes are {", ".join(map(repr, names)) or "not known"}, and {NUCLEUS!r} is not '
            "among them. Give stage 1's config and checkpoint."
        )
    return names.index(NUCLEUS)


def _facts(config: Config, checkpoint: str | Path, meta: Mapping) -> dict[str, Any]:
    """Return where the detector comes from, if checkpoint and config agree on its training data.

    Labels tell the next stage what they have seen; that must not rest on an option that was given or forgotten.
    """
    batches = list(config.get('train_batches') or ())
    stored = trained_batches(meta)
    if stored is not None and set(stored) != set(batches):
        raise InputError(
            f'{checkpoint}: was trained on {", ".join(stored)}, but the config says {", ".join(batches) or "nothing"}. '
            'Give the config that its run has saved, or the --fold that it was trained with.'
        )
    training = training_of(meta, checkpoint)
    if training is not None:  # without the id of the run: equal trainings write equal files
        training['run_id'] = None
    return {
        'checkpoint': Path(checkpoint).name,
        'config': Path(config.filename).name if config.filename else None,
        'train_batches': sorted({*batches, *(seen_by_checkpoint(meta, checkpoint) or ())}),
        'fold': config.get('fold'),
        'training': training,
    }
