"""The datasets of the three training stages: patches of batches, read where they lie, split by well.

A fold is a list of batch names: `batches=['M1', 'M2']` with `split='train'` and `split='val'` are two disjoint parts of
these batches, and no file is copied or written. The folder layout is that of `noise_mm.coco.batch_folder`.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from mmdet.datasets import BaseDetDataset
from mmengine.logging import print_log
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmyolo.registry import DATASETS

from noise_mm.coco.pseudo_file import check_pseudo_labels, label_command, provenance_of, pseudo_path
from noise_mm.configuration import references_in, refuse_references
from noise_mm.datasets.coco_patches import parse_coco
from noise_mm.datasets.later_validation import wells_of_batches, without_later_validation
from noise_mm.datasets.palette import palette_of
from noise_mm.datasets.patch_images import PatchCache, has_room, require_files
from noise_mm.datasets.transforms import with_patch_loader
from noise_mm.errors import InputError
from noise_mm.files import read_json
from noise_mm.seen_batches import refuse_repeated
from noise_mm.splits import draw_validation_units

SPLITS = ('train', 'val', 'all')
SPLIT_UNITS = ('well', 'patch', 'stored')
CACHES = ('none', 'ram', 'auto')
LATER_VALIDATIONS = ('left_out', 'kept')


@dataclass(frozen=True)
class Source:
    """A COCO file, the folder that its image names are relative to, and the batch of images that don't name theirs."""

    annotation_file: Path
    image_dir: Path
    batch: str


def nested_datasets(dataset: Any) -> Iterator[Any]:
    """Yield a dataset and those that it wraps, as `RepeatDataset` and `ConcatDataset` do, at any depth."""
    yield dataset
    for each in [dataset.dataset] if hasattr(dataset, 'dataset') else getattr(dataset, 'datasets', ()):
        yield from nested_datasets(each)


class PatchDataset(BaseDetDataset):
    """Base of the three datasets.

    Differs from MMDetection's `CocoDataset` in that it joins the files of several batches, draws the validation part
    itself, keeps what is ignored, and names what is wrong with the data. Images without objects are kept: they teach
    the network what is no cell.

    For metrics that take the truth from the samples (such as `CocoMetric` without `ann_file`), put `instances` into
    the `meta_keys` of `PackDetInputs`: boxes and outlines there are in pixels of the annotated patch, not of the
    network's input.

    Args:
        data_root: Folder that holds the batch folders.
        batches: Names of the batches; None for all that are there.
        split: 'train', 'val', or 'all' for both together.
        split_unit: What the validation part is made of: whole 'well's, so that overlapping patches never lie on both
            sides; 'patch'es; or 'stored': each image's own key `split` says it.
        val_fraction: Share of the units that is drawn for validation; see `draw_validation_units`.
        split_seed: Another seed draws another validation part.
        cache: 'ram' to read all patches into memory before training, at `network_size_px`; see `PatchCache`. 'auto'
            does so where they fit (see `has_room`), but not for a test, which reads each patch once.
        network_size_px: Longer side of the cached patches. Must be that of `FitPatch`.
        ann_file: Instead of batches, one COCO file in any folder. Images are looked for in `data_prefix['img']`,
            by default `data_root`. Without `well` entries, split it by 'patch'.
        kwargs: Further arguments of MMDetection's `BaseDetDataset`. `metainfo=dict(classes=...)` selects other
            categories; `filter_cfg=dict(filter_empty_gt=True)` leaves images without objects out of training.

    Raises:
        InputError: If a file or an image is missing or faulty, a batch doesn't exist, or nothing is selected.
    """

    MAY_BE_MISSING: ClassVar[tuple[str, ...]] = ()  # classes that may have no object in the training patches

    def __init__(
        self,
        data_root: str = '',
        batches: Sequence[str] | None = None,
        split: str = 'all',
        split_unit: str = 'well',
        val_fraction: float = 0.2,
        split_seed: int = 0,
        cache: str = 'none',
        network_size_px: int = 416,
        **kwargs: object,
    ) -> None:
        metainfo = kwargs.get('metainfo') or {}
        given = {'data_root': data_root, 'batches': batches, 'cache': cache, 'split_unit': split_unit, **metainfo}
        self._unfilled = references_in({**given, **kwargs})
        if self._unfilled:
            # MMDetection's inference builds a dataset of the config as it is, only to ask for its palette.
            data_root, batches, split_unit, cache = '', None, 'well', 'none'
            kwargs = {'lazy_init': kwargs.get('lazy_init', False), 'test_mode': kwargs.get('test_mode', False)}
        choices = {'split': (split, SPLITS), 'split_unit': (split_unit, SPLIT_UNITS), 'cache': (cache, CACHES)}
        for name, (value, allowed) in choices.items():
            if value not in allowed:
                raise InputError(f'{type(self).__name__}: {name}={value!r}. Choose one of {", ".join(allowed)}.')
        refuse_repeated(f'{type(self).__name__}: batches', batches)
        self.batches = None if batches is None else list(batches)
        self.split = split
        self.split_unit = split_unit
        self.val_fraction = val_fraction
        self.split_seed = split_seed
        self.cache = cache
        self.network_size_px = network_size_px
        self.patches_in_memory: PatchCache | None = None
        # Seed and epoch, in memory that worker processes share: see `begin_epoch`.
        self._epoch = torch.full((2,), -1, dtype=torch.int64).share_memory_()
        kwargs['pipeline'] = with_patch_loader(kwargs.get('pipeline', []))
        super().__init__(data_root=data_root, **kwargs)
        own = self._metainfo.get('palette') or ()
        if not self._unfilled and not isinstance(own, str):  # a name, such as 'random', means a palette of MMDetection
            self._metainfo['palette'] = palette_of(self._metainfo['classes'], own)

    def full_init(self) -> None:
        """Reads the annotation, and the patches where they are to be kept in memory."""
        if self._fully_initialized:
            return
        refuse_references(type(self).__name__, self._unfilled)
        super().full_init()
        is_read_again = not (self.test_mode and self.split == 'all')
        if self.cache == 'ram' or (
            self.cache == 'auto' and is_read_again and has_room(len(self), self.network_size_px)
        ):
            infos = [super(PatchDataset, self).get_data_info(i) for i in range(len(self))]
            paths = {info['img_id']: info['img_path'] for info in infos}
            self.patches_in_memory = PatchCache.read(paths, self.network_size_px)

    def load_data_list(self) -> list[dict]:
        """One dictionary an image: its COCO entry, `instances` (see `parse_coco`), `img_id` and `img_path`.

        `img_id` counts all images of the batches, so that it is unique, and the same in 'train', 'val' and 'all'.
        """
        images = self.read_images()
        n_objects = sum(len(image['instances']) for image in images)
        n_batches = len({image['batch'] for image in images})
        print_log(
            f'{type(self).__name__} ({self.split}): {len(images)} patches of {n_batches} batches, {n_objects} objects',
            logger='current',
        )
        return images

    def read_images(self) -> list[dict]:
        """What `load_data_list` gives, with all its checks: to know early whether the data can be used."""
        refuse_references(type(self).__name__, self._unfilled)
        images = []
        for source in self.sources():
            for image in parse_coco(self.read(source), str(source.annotation_file), self.metainfo['classes']):
                path = source.image_dir / image['file_name']
                images.append({'batch': source.batch, **image, 'img_path': str(path), 'img_id': len(images) + 1})
        images = self._of_split(self._of_batches(images))
        require_files(image['img_path'] for image in images)
        if self.split == 'train':
            self._require_all_classes(images)
        return images

    def _require_all_classes(self, images: list[dict]) -> None:
        """Refuses training patches without an object of a class: the network could not learn it."""
        found = {each['bbox_label'] for image in images for each in image['instances']}
        classes = self.metainfo['classes']
        missing = [name for label, name in enumerate(classes) if label not in found and name not in self.MAY_BE_MISSING]
        if missing:
            raise InputError(
                f'{self.data_root or self.ann_file}: no {missing[0]} in the training patches of '
                f'{", ".join(self.batches or ["all batches"])}. Annotate some, or correct the classes of the config '
                f'({", ".join(classes)}).'
            )

    def read(self, source: Source) -> Any:
        """The content of a COCO file."""
        return read_json(source.annotation_file)

    def sources(self) -> list[Source]:
        """The files to read."""
        if self.ann_file:
            image_dir = Path(self.data_prefix.get('img', self.data_root))
            return [Source(Path(self.ann_file), image_dir, Path(self.ann_file).stem)]
        return self.batch_sources()

    def batch_sources(self) -> list[Source]:
        """The files of the batches: `<batch>/annotations.json`, images beside it."""
        folders = sorted(path.parent for path in Path(self.data_root).glob('*/annotations.json'))
        there = {folder.name: folder for folder in folders if folder.name != NucleiDataset.FOLDER}
        names = self._existing(there, 'Extract it with data_prep/extract_patches.py, or name another batch.')
        return [Source(there[name] / 'annotations.json', there[name], name) for name in names]

    def _existing(self, there: Iterable[str], remedy: str) -> list[str]:
        """The batches asked for, after a check that all of them are there."""
        there = sorted(there)
        wanted = there if self.batches is None else self.batches
        unknown = [name for name in wanted if name not in there]
        if unknown or not wanted:
            what = f'no batch {unknown[0]!r}' if unknown else 'no batches are selected'
            raise InputError(f'{self.data_root}: {what}; there are: {", ".join(there) or "none"}. {remedy}')
        return wanted

    def _of_batches(self, images: list[dict]) -> list[dict]:
        """The images of the batches asked for; a file may hold those of others."""
        if self.batches is None or self.ann_file:
            return images
        return [image for image in images if image['batch'] in self.batches]

    def _of_split(self, images: list[dict]) -> list[dict]:
        """The images of the part asked for."""
        if self.split == 'all':
            selected = images
        elif self.split_unit == 'stored':
            selected = [image for image in images if self._key(image, 'split') == self.split]
        else:
            name = 'well' if self.split_unit == 'well' else 'file_name'
            units = [(image['batch'], str(self._key(image, name))) for image in images]
            held_back = draw_validation_units(units, self.val_fraction, self.split_seed)
            in_val = self.split == 'val'
            selected = [image for image, unit in zip(images, units, strict=True) if (unit in held_back) == in_val]
        if not selected:
            raise InputError(
                f'{self.data_root or self.ann_file}: no image in split {self.split!r} of '
                f'{", ".join(self.batches or ["all batches"])}. Choose other batches or another split_unit.'
            )
        return selected

    @staticmethod
    def _key(image: dict, key: str) -> object:
        """What an image's entry says under `key`."""
        if image.get(key) is None:
            raise InputError(
                f'{image["img_path"]}: its annotation has no {key!r}, so it cannot be assigned to a split. '
                "Set split_unit='patch' or split='all'."
            )
        return image[key]

    def filter_data(self) -> list[dict]:
        """Drops images without objects from training, if `filter_cfg` asks for it."""
        if self.test_mode or not (self.filter_cfg or {}).get('filter_empty_gt', False):
            return self.data_list
        kept = [info for info in self.data_list if any(not each['ignore_flag'] for each in info['instances'])]
        if not kept:
            raise InputError(
                f'{self.data_root or self.ann_file}: no image has an object. Annotate some, or drop filter_empty_gt.'
            )
        return kept

    def get_data_info(self, idx: int) -> dict:
        """The dictionary of an image; with `img` where patches are kept in memory."""
        info = super().get_data_info(idx)
        if self.patches_in_memory is not None:
            info['img'] = self.patches_in_memory[info['img_id']]
        return info

    def begin_epoch(self, seed: int, epoch: int) -> None:
        """Makes the random steps of each sample a function of seed, epoch and index, from now on.

        So samples do not depend on the number of workers, nor on what a process drew before: a run that is resumed
        sees what it would have seen. Workers that are running already take part.
        """
        self._epoch[:] = torch.tensor([seed, epoch])

    def prepare_data(self, idx: int) -> dict:
        """A sample from the pipeline. Steps that mix images find this dataset under `dataset`, as in MMYOLO."""
        seed, epoch = self._epoch.tolist()
        if epoch >= 0:
            numbers = np.random.SeedSequence([seed, epoch, idx]).generate_state(2).tolist()
            random.seed(numbers[0])
            np.random.seed(numbers[1])
        info = self.get_data_info(idx)
        if not self.test_mode:
            info['dataset'] = self
        return self.pipeline(info)


@MMENGINE_DATASETS.register_module()
@DATASETS.register_module()
class OsteoclastDataset(PatchDataset):
    """Stage 3: osteoclasts with outlines, from `<batch>/annotations.json`. Arguments: see `PatchDataset`."""

    METAINFO: ClassVar = {'classes': ('osteoclast',)}


@MMENGINE_DATASETS.register_module()
@DATASETS.register_module()
class OsteoclastNucleiDataset(PatchDataset):
    """Stage 2: osteoclasts and weakly labelled nuclei as boxes, from `<pseudo_dir>/<batch>.json`.

    Images are those of the batch folders. The split is that of `OsteoclastDataset` with the same arguments, so that no
    validation well of stage 3 was trained on in stage 2. Labels are refused that belong to another batch, to
    osteoclasts that were annotated otherwise, or that come from a detector which has seen the test data; see
    `check_pseudo_labels`.

    Args:
        args: See `PatchDataset`.
        pseudo_dir: Folder of the files, below `data_root`.
        held_out: Batches that are tested on: no label may come from a detector that was trained on one of them.
        kwargs: See `PatchDataset`.

    Attributes:
        label_detectors: Once read: what the label files say about the detectors that made them.

    Raises:
        InputError: Also if labels are refused, with the command that makes them anew.
    """

    METAINFO: ClassVar = {'classes': ('osteoclast', 'nucleus')}
    MAY_BE_MISSING: ClassVar = ('nucleus',)  # a poor detector finds none, and has warned

    def __init__(
        self, *args: object, pseudo_dir: str = 'pseudo', held_out: Sequence[str] = (), **kwargs: object
    ) -> None:
        self.pseudo_dir = pseudo_dir
        self.held_out = list(held_out)
        self.label_detectors: list[dict] = []
        super().__init__(*args, **kwargs)

    def batch_sources(self) -> list[Source]:
        """The files `<pseudo_dir>/<batch>.json`."""
        refuse_references(type(self).__name__, {'pseudo_dir': self.pseudo_dir})
        root = Path(self.data_root)
        there = {path.stem: path for path in (root / self.pseudo_dir).glob('*.json')}
        missing = [name for name in self.batches or () if name not in there]
        if missing:
            super().batch_sources()  # names batches that do not exist at all
            raise InputError(
                f'{pseudo_path(root, self.pseudo_dir, missing[0])}: no such file: the nuclei of batch {missing[0]} are '
                'not labelled yet. Train stage 1, which labels them when it ends, or label them with its best '
                f'checkpoint: {label_command(root, self.pseudo_dir, missing[0])}'
            )
        names = self._existing(there, f'Label them: {label_command(root, self.pseudo_dir, "BATCH")}')
        return [Source(there[name], root / name, name) for name in names]

    def read(self, source: Source) -> Any:
        """The content of a pseudo-label file, after a check that it belongs here."""
        content = super().read(source)
        detector = provenance_of(content).get('detector')
        if detector and detector not in self.label_detectors:
            self.label_detectors.append(detector)
        if not self.ann_file:
            check_pseudo_labels(content, self.data_root, self.pseudo_dir, source.batch, self.held_out)
        return content


@MMENGINE_DATASETS.register_module()
@DATASETS.register_module()
class NucleiDataset(PatchDataset):
    """Stage 1: hand-marked nuclei as boxes, from `nuclei/annotations.json`, whose images name their batch.

    The split is the stored one by default (`data_prep/import_nuclei.py` makes it).

    Args:
        args: See `PatchDataset`.
        split_unit: See `PatchDataset`.
        later_validation: What becomes of images from wells that stages 2 and 3 validate on: 'kept', or 'left_out' of
            all splits, so that neither a gradient nor a choice of stage 1 has seen them. These wells are the ones that
            `OsteoclastDataset` with the same batches, `val_fraction` and `split_seed` holds back, drawn from
            `<batch>/annotations.json` of the batches that are there. That is `split_unit='well'` of stages 2 and 3,
            whatever it is here; with 'patch' every well is on both sides there, and none can be left out.
        kwargs: See `PatchDataset`.

    Raises:
        InputError: Also if an annotated patch doesn't name its well, or nothing remains.
    """

    METAINFO: ClassVar = {'classes': ('nucleus',)}
    FOLDER: ClassVar = 'nuclei'

    def __init__(
        self, *args: object, split_unit: str = 'stored', later_validation: str = 'kept', **kwargs: object
    ) -> None:
        if later_validation not in (*LATER_VALIDATIONS, *references_in({'': later_validation}).values()):
            raise InputError(
                f'NucleiDataset: later_validation={later_validation!r}. Choose one of {", ".join(LATER_VALIDATIONS)}.'
            )
        self.later_validation = later_validation
        super().__init__(*args, split_unit=split_unit, **kwargs)

    def batch_sources(self) -> list[Source]:
        """The one file of all nuclei."""
        folder = Path(self.data_root) / self.FOLDER
        return [Source(folder / 'annotations.json', folder, self.FOLDER)]

    def _of_batches(self, images: list[dict]) -> list[dict]:
        if not self.ann_file:
            self._existing({image['batch'] for image in images}, 'Import its nuclei with data_prep/import_nuclei.py.')
        images = super()._of_batches(images)
        if self.later_validation == 'kept':
            return images
        batches = sorted({image['batch'] for image in images}) if self.batches is None else self.batches
        wells = wells_of_batches(self.data_root, batches)
        remaining = without_later_validation(images, wells, self.val_fraction, self.split_seed)
        if not remaining:
            raise InputError(
                f'{self.data_root}: all nuclei of {", ".join(batches)} are of wells that stages 2 and 3 validate on. '
                "Mark nuclei in other wells, choose another split_seed, or set later_validation='kept'."
            )
        return remaining
