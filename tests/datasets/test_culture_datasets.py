"""The datasets on drawn batches: selection, splits, faults, cache and what a metric gets."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.evaluation import CocoMetric
from pycocotools import mask as coco_mask

from noise_mm.datasets import NucleiDataset, OsteoclastDataset, OsteoclastNucleiDataset
from noise_mm.errors import InputError

TEST_PIPELINE = [
    {'type': 'LoadPatch'},
    {'type': 'FitPatch', 'network_size_px': 64},
    {
        'type': 'mmdet.PackDetInputs',
        'meta_keys': ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'pad_param', 'instances'),
    },
]


@pytest.fixture
def root(tmp_path: Path, make_batch: Callable) -> Path:
    """Two batches of three wells with two patches each; M2 has no cells."""
    make_batch(tmp_path, 'M1')
    make_batch(tmp_path, 'M2', n_cells=0)
    return tmp_path


def edit(path: Path, change: Callable[[dict], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def paths_of(dataset: OsteoclastDataset) -> set[str]:
    return {dataset.get_data_info(i)['img_path'] for i in range(len(dataset))}


def wells_of(dataset: OsteoclastDataset) -> set[tuple[str, str]]:
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    return {(info['batch'], info['well']) for info in infos}


def test_patches_without_cells_are_kept_unless_asked(root: Path) -> None:
    assert len(OsteoclastDataset(root, batches=['M1', 'M2'])) == 12
    assert len(OsteoclastDataset(root, filter_cfg={'filter_empty_gt': True})) == 6
    assert len(OsteoclastDataset(root, filter_cfg={'filter_empty_gt': True}, test_mode=True)) == 12


def test_nothing_left_by_the_filter_is_refused(root: Path) -> None:
    with pytest.raises(InputError, match='no image has an object'):
        OsteoclastDataset(root, batches=['M2'], filter_cfg={'filter_empty_gt': True})


@pytest.mark.parametrize('unit', ['well', 'patch'])
@pytest.mark.parametrize('seed', [0, 1, 2])
def test_train_and_val_are_disjoint_and_together_all(root: Path, unit: str, seed: int) -> None:
    parts = {
        split: OsteoclastDataset(root, split=split, split_unit=unit, split_seed=seed)
        for split in ('train', 'val', 'all')
    }
    assert not paths_of(parts['train']) & paths_of(parts['val'])
    assert paths_of(parts['train']) | paths_of(parts['val']) == paths_of(parts['all'])
    if unit == 'well':
        assert not wells_of(parts['train']) & wells_of(parts['val'])


def test_the_split_does_not_depend_on_the_order_in_the_file(root: Path) -> None:
    before = paths_of(OsteoclastDataset(root, split='val'))
    edit(root / 'M1' / 'annotations.json', lambda content: content['images'].reverse())
    assert paths_of(OsteoclastDataset(root, split='val', batches=['M2', 'M1'])) == before


def test_image_ids_are_unique_and_those_of_the_whole(root: Path) -> None:
    ids = {}
    for split in ('train', 'val', 'all'):
        dataset = OsteoclastDataset(root, split=split)
        ids[split] = {dataset.get_data_info(i)['img_id'] for i in range(len(dataset))}
    assert ids['all'] == set(range(1, 13))
    assert ids['train'] | ids['val'] == ids['all']


def test_stage_two_splits_the_same_wells(root: Path) -> None:
    for batch in ('M1', 'M2'):
        (root / 'pseudo').mkdir(exist_ok=True)
        (root / 'pseudo' / f'{batch}.json').write_text((root / batch / 'annotations.json').read_text())
    both = OsteoclastNucleiDataset(root, split='val', batches=['M1', 'M2'])
    assert paths_of(both) == paths_of(OsteoclastDataset(root, split='val', batches=['M1', 'M2']))
    assert both.metainfo['classes'] == ('osteoclast', 'nucleus')
    with pytest.raises(InputError, match=r"no batch 'M3'; there are: M1, M2\. Label it"):
        OsteoclastNucleiDataset(root, batches=['M3'])


def test_nuclei_are_selected_by_batch_and_stored_split(tmp_path: Path, make_batch: Callable) -> None:
    folder = make_batch(tmp_path, 'M1', folder='nuclei', category='nucleus', split='train')

    def change(content: dict) -> None:
        content['images'][0]['split'] = 'val'
        content['images'][1]['batch'] = 'M2'

    edit(folder / 'annotations.json', change)
    sizes = {
        (batch, split): len(NucleiDataset(tmp_path, batches=[batch], split=split))
        for batch, split in [('M1', 'train'), ('M1', 'val'), ('M1', 'all'), ('M2', 'train')]
    }
    assert sizes == {('M1', 'train'): 4, ('M1', 'val'): 1, ('M1', 'all'): 5, ('M2', 'train'): 1}
    with pytest.raises(InputError, match="no image in split 'val' of M2"):
        NucleiDataset(tmp_path, batches=['M2'], split='val')
    with pytest.raises(InputError, match="no batch 'M5'; there are: M1, M2"):
        NucleiDataset(tmp_path, batches=['M5'])
    assert len(NucleiDataset(tmp_path, batches=['M1'], split='val', split_unit='patch')) == 1


def test_the_nuclei_folder_is_no_batch_of_osteoclasts(root: Path, make_batch: Callable) -> None:
    make_batch(root, 'M9', folder='nuclei', category='nucleus')
    assert {batch for batch, _ in wells_of(OsteoclastDataset(root))} == {'M1', 'M2'}


def test_a_plain_coco_file_and_its_folder(root: Path) -> None:
    def forget(content: dict) -> None:
        for image in content['images']:
            for key in ('batch', 'well', 'x', 'y', 'mpp'):
                del image[key]
            image['file_name'] = Path(image['file_name']).name
        content['categories'][0]['name'] = 'cell'

    edit(root / 'M1' / 'annotations.json', forget)
    source = {
        'ann_file': 'M1/annotations.json',
        'data_prefix': {'img': 'M1/images'},
        'metainfo': {'classes': ('cell',)},
    }
    assert len(OsteoclastDataset(root, **source)) == 6
    assert len(OsteoclastDataset(root, split='val', split_unit='patch', **source)) == 1
    with pytest.raises(InputError, match="no 'well', so it cannot be assigned"):
        OsteoclastDataset(root, split='val', **source)


@pytest.mark.parametrize('name', ['split', 'split_unit', 'cache'])
def test_unknown_choices_are_refused(root: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"{name}='x'. Choose one of"):
        OsteoclastDataset(root, **{name: 'x'})


def test_unknown_or_no_batches_are_refused(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(InputError, match="no batch 'M7'; there are: M1, M2"):
        OsteoclastDataset(root, batches=['M1', 'M7'])
    with pytest.raises(InputError, match='no batches are selected; there are: M1, M2'):
        OsteoclastDataset(root, batches=[])
    with pytest.raises(InputError, match='there are: none'):
        OsteoclastDataset(tmp_path_factory.mktemp('empty'))


def test_a_missing_image_is_named(root: Path) -> None:
    for name in ('M1_2.png', 'M1_3.png'):
        (root / 'M1' / 'images' / name).unlink()
    with pytest.raises(InputError, match=r'M1_2.png: is annotated but missing \(and 1 more\)'):
        OsteoclastDataset(root)


def test_the_cache_changes_nothing_but_the_reading(root: Path) -> None:
    from_disk = OsteoclastDataset(root, pipeline=TEST_PIPELINE, test_mode=True)
    from_ram = OsteoclastDataset(root, pipeline=TEST_PIPELINE, test_mode=True, cache='ram', network_size_px=64)
    for path in paths_of(from_ram):
        Path(path).unlink()
        assert not Path(path).exists()
    subset = from_ram.get_subset([3, 1])
    assert subset[0]['data_samples'].img_id == from_ram[3]['data_samples'].img_id
    for i in range(len(from_ram)):
        assert from_ram[i]['data_samples'].ori_shape == (128, 128)
    with pytest.raises(InputError, match='cannot be read'):
        from_disk[0]


def test_cached_samples_equal_those_from_disk(root: Path) -> None:
    from_disk = OsteoclastDataset(root, pipeline=TEST_PIPELINE, test_mode=True)
    from_ram = OsteoclastDataset(root, pipeline=TEST_PIPELINE, test_mode=True, cache='ram', network_size_px=64)
    for one, other in zip(from_disk, from_ram, strict=True):
        assert torch.equal(one['inputs'], other['inputs'])
        for key in ('img_id', 'ori_shape', 'img_shape', 'scale_factor'):
            assert one['data_samples'].metainfo[key] == other['data_samples'].metainfo[key]


@pytest.mark.parametrize('n_perfect', [1.0, 0.5])
def test_coco_metric_finds_its_truth_in_the_samples(root: Path, n_perfect: float) -> None:
    """Perfect detections score 1; those in ignored regions count neither for nor against."""
    crowd = [0.0, 0.0, 30.0, 0.0, 30.0, 30.0, 0.0, 30.0]

    def change(content: dict) -> None:
        content['annotations'].append(
            {'id': 999, 'image_id': 1, 'category_id': 1, 'iscrowd': 1, 'segmentation': [crowd], 'bbox': [0, 0, 30, 30]}
        )

    edit(root / 'M1' / 'annotations.json', change)
    dataset = OsteoclastDataset(root, pipeline=TEST_PIPELINE, test_mode=True)
    metric = CocoMetric(metric=['bbox', 'segm'])
    metric.dataset_meta = dataset.metainfo
    for sample in dataset:
        meta = sample['data_samples'].metainfo
        instances = meta['instances']
        real = [each for each in instances if not each['ignore_flag']]
        found = real[: int(np.ceil(len(real) * n_perfect))]
        stray = [{'bbox': [2, 2, 9, 9], 'mask': [np.array([2, 2, 9, 2, 9, 9, 2, 9.0])]}] if meta['img_id'] == 1 else []
        boxes = np.array([each['bbox'] for each in found + stray], dtype=np.float32).reshape(-1, 4)
        masks = [coco_mask.merge(coco_mask.frPyObjects(each['mask'], 128, 128)) for each in found + stray]
        prediction = {
            'bboxes': torch.from_numpy(boxes),
            'scores': torch.full((len(boxes),), 0.9),
            'labels': torch.zeros(len(boxes), dtype=torch.long),
            'masks': masks,
        }
        metric.process({}, [{**meta, 'pred_instances': prediction}])
    scores = metric.evaluate(size=len(dataset))
    expected = pytest.approx(1.0) if n_perfect == 1 else pytest.approx(0.5, abs=0.01)
    assert scores['coco/segm_mAP'] == expected
    assert scores['coco/bbox_mAP'] == expected


def test_samples_depend_on_seed_epoch_and_index_only(make_batch, tmp_path):
    make_batch(tmp_path, 'M1')

    def dataset():
        return OsteoclastDataset(
            str(tmp_path), ['M1'], pipeline=[{'type': 'LoadPatch'}, {'type': 'YOLOv5HSVRandomAug'}]
        )

    def sample(source, epoch, index):
        source.begin_epoch(7, epoch)
        return source[index]['img'].tobytes()

    first, second = dataset(), dataset()
    expected = [sample(first, 1, i) for i in range(3)]
    assert [sample(second, 1, i) for i in (2, 1, 0)] == expected[::-1]
    assert sample(second, 2, 0) != expected[0]


def test_training_without_objects_is_refused(make_batch, tmp_path):
    make_batch(tmp_path, 'M1')
    dataset = {'data_root': str(tmp_path), 'batches': ['M1'], 'split': 'train', 'pipeline': []}
    with pytest.raises(InputError, match='no nucleus in the training patches of M1'):
        OsteoclastDataset(**dataset, metainfo={'classes': ('nucleus',)})
