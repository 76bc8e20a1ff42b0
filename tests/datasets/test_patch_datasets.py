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
from noise_mm.datasets.palette import palette_of
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
    with pytest.raises(InputError, match=r"no batch 'M3'; there are: M1, M2\. Extract it"):
        OsteoclastNucleiDataset(root, batches=['M3'])


def test_missing_labels_are_named_with_the_command_that_makes_them(root: Path) -> None:
    with pytest.raises(InputError, match=r'pseudo/M2\.json: no such file.* python tools/pseudo_label\.py .* M2$'):
        OsteoclastNucleiDataset(root, batches=['M2'])
    with pytest.raises(InputError, match=r'there are: none\. Label them: python tools/pseudo_label\.py'):
        OsteoclastNucleiDataset(root)


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


def write_pseudo(root: Path, batch: str, pseudo_dir: str = 'pseudo', **provenance: object) -> Path:
    """A pseudo-label file with the osteoclasts of the batch and one nucleus."""
    content = json.loads((root / batch / 'annotations.json').read_text())
    nucleus = {'id': 5000, 'image_id': 1, 'category_id': 2, 'iscrowd': 0, 'bbox': [1, 1, 9, 9], 'score': 0.5}
    content['annotations'].append(nucleus)
    content['info'] = {'pseudo_labels': provenance}
    path = root / pseudo_dir / f'{batch}.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def test_labels_of_a_detector_that_saw_the_test_batch_are_refused(root: Path) -> None:
    write_pseudo(root, 'M1', detector={'train_batches': ['M1', 'M2']})
    stage_two = {'data_root': root, 'batches': ['M1']}
    assert len(OsteoclastNucleiDataset(**stage_two, held_out=['M5'])) == 6
    assert len(OsteoclastNucleiDataset(**stage_two)) == 6
    with pytest.raises(InputError, match=r'its detector was trained on M2, which is held out.*pseudo_label\.py'):
        OsteoclastNucleiDataset(**stage_two, held_out=['M5', 'M2'])


def test_each_fold_has_labels_of_its_own(root: Path) -> None:
    write_pseudo(root, 'M1', 'pseudo/without_M5')
    assert len(OsteoclastNucleiDataset(root, ['M1'], pseudo_dir='pseudo/without_M5')) == 6
    with pytest.raises(InputError, match='pseudo/M1.json: no such file'):
        OsteoclastNucleiDataset(root, ['M1'])
    with pytest.raises(InputError, match=r'pseudo/without_M5/M2.json: no such file.* --batches M2 --fold M5$'):
        OsteoclastNucleiDataset(root, ['M1', 'M2'], pseudo_dir='pseudo/without_M5')


def test_labels_of_another_batch_are_refused(root: Path) -> None:
    write_pseudo(root, 'M1').rename(root / 'pseudo' / 'M2.json')
    with pytest.raises(InputError, match=r'M2\.json: holds images of batch M1 and not of M2\. Label it again: python'):
        OsteoclastNucleiDataset(root, ['M2'])


@pytest.mark.parametrize('key', ['annotations', 'images'])
def test_labels_for_osteoclasts_of_before_are_refused(root: Path, key: str) -> None:
    write_pseudo(root, 'M1')
    path = root / 'M1' / 'annotations.json'
    path.write_text(json.dumps(json.loads(path.read_text()), indent=3))  # another file with the same content
    assert len(OsteoclastNucleiDataset(root, ['M1'])) == 6
    edit(path, lambda content: content[key][-1].update({'bbox': [0, 0, 1, 1], 'file_name': 'images/other.png'}))
    with pytest.raises(InputError, match=r'M1\.json: its osteoclasts are not those of .*annotations\.json\. Label it'):
        OsteoclastNucleiDataset(root, ['M1'])
    path.unlink()
    assert len(OsteoclastNucleiDataset(root, ['M1'])) == 6


def test_a_pseudo_file_that_is_no_coco_file_is_named(root: Path) -> None:
    write_pseudo(root, 'M1').write_text('[1]')
    with pytest.raises(InputError, match='M1.json: not a COCO file'):
        OsteoclastNucleiDataset(root, ['M1'])


@pytest.fixture
def study(tmp_path: Path, make_batch: Callable) -> Path:
    """Osteoclasts of M1 to M3 with five wells each, and nuclei of the same wells, named as the importer does."""
    contents = []
    for batch in ('M1', 'M2', 'M3'):
        make_batch(tmp_path, batch, n_wells=5)
        folder = make_batch(tmp_path, batch, n_wells=5, n_cells=1, folder='nuclei', category='nucleus')
        contents.append(json.loads((folder / 'annotations.json').read_text()))
    joined = {'categories': contents[0]['categories'], 'images': [], 'annotations': []}
    for number, content in enumerate(contents):
        for image in content['images']:
            image |= {'id': image['id'] + 100 * number, 'well': f'{image["batch"]}-{image["well"]}'}
        for each in content['annotations']:
            each |= {'id': each['id'] + 1000 * number, 'image_id': each['image_id'] + 100 * number}
        joined['images'] += content['images']
        joined['annotations'] += content['annotations']
    (tmp_path / 'nuclei' / 'annotations.json').write_text(json.dumps(joined))
    return tmp_path


def bare(wells: set[tuple[str, str]]) -> set[tuple[str, str]]:
    return {(batch, well.removeprefix(f'{batch}-')) for batch, well in wells}


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('fold', ['M1', 'M3'])
def test_stage_one_sees_neither_the_test_batch_nor_a_validation_well_of_later_stages(
    study: Path, fold: str, seed: int
) -> None:
    batches = [batch for batch in ('M1', 'M2', 'M3') if batch != fold]
    common = {'data_root': study, 'batches': batches, 'split_unit': 'well', 'split_seed': seed}
    later = wells_of(OsteoclastDataset(**common, split='val'))
    assert len(later) == 2  # a fifth of ten wells
    for batch in batches:
        write_pseudo(study, batch)
    assert wells_of(OsteoclastNucleiDataset(**common, split='val')) == later
    parts = {
        split: bare(wells_of(NucleiDataset(**common, later_validation='left_out', split=split)))
        for split in ('train', 'val', 'all')
    }
    assert not parts['all'] & later
    assert not parts['train'] & parts['val']
    assert parts['train'] | parts['val'] == parts['all']
    assert parts['val']
    assert len(parts['all']) == 8
    for wells in (*parts.values(), later, wells_of(OsteoclastDataset(**common, split='train'))):
        assert fold not in {batch for batch, _ in wells}
    kept = bare(wells_of(NucleiDataset(**common, later_validation='kept')))
    assert kept == parts['all'] | later


def test_without_osteoclast_folders_nothing_is_left_out(study: Path) -> None:
    for batch in ('M1', 'M2', 'M3'):
        (study / batch / 'annotations.json').unlink()
    assert len(NucleiDataset(study, later_validation='left_out', split_unit='well')) == 30


def test_a_single_well_is_not_left_out(tmp_path: Path, make_batch: Callable) -> None:
    make_batch(tmp_path, 'M1', n_wells=1)
    make_batch(tmp_path, 'M1', n_wells=1, folder='nuclei', category='nucleus')
    assert len(NucleiDataset(tmp_path, later_validation='left_out')) == 2


def test_all_nuclei_left_out_is_refused(tmp_path: Path, make_batch: Callable) -> None:
    make_batch(tmp_path, 'M1', n_wells=5)
    folder = make_batch(tmp_path, 'M1', n_wells=1, folder='nuclei', category='nucleus')
    ((_, well),) = wells_of(OsteoclastDataset(tmp_path, ['M1'], split='val'))
    edit(folder / 'annotations.json', lambda content: [image.update(well=well) for image in content['images']])
    with pytest.raises(InputError, match='all nuclei of M1 are of wells that stages 2 and 3 validate on'):
        NucleiDataset(tmp_path, ['M1'], later_validation='left_out')


def test_patches_without_wells_cannot_tell_the_later_validation(study: Path) -> None:
    edit(study / 'M2' / 'annotations.json', lambda content: content['images'][0].pop('well'))
    with pytest.raises(InputError, match="do not name their wells.*later_validation='kept'"):
        NucleiDataset(study, later_validation='left_out')
    with pytest.raises(InputError, match="later_validation='no'. Choose one of left_out, kept"):
        NucleiDataset(study, later_validation='no')


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


def test_auto_keeps_what_is_read_again(root: Path) -> None:
    train = OsteoclastDataset(root, pipeline=TEST_PIPELINE, cache='auto', network_size_px=64)
    test = OsteoclastDataset(root, pipeline=TEST_PIPELINE, test_mode=True, cache='auto', network_size_px=64)
    assert train.patches_in_memory is not None
    assert test.patches_in_memory is None


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


@pytest.mark.parametrize(
    ('classes', 'own', 'colours'),
    [
        (('osteoclast',), (), [(200, 0, 140)]),
        (('nucleus', 'osteoclast'), (), [(0, 150, 255), (200, 0, 140)]),
        (('osteoclast', 'b'), [(1, 2, 3)], [(1, 2, 3), None]),
        (('a', 'b', 'c', 'osteoclast'), (), [None, None, None, (200, 0, 140)]),
        (('a',), [(1, 2, 3), (4, 5, 6)], [(1, 2, 3)]),
    ],
)
def test_as_many_colours_as_classes(classes, own, colours):
    found = palette_of(classes, own)
    assert len(set(found)) == len(found) == len(classes)
    assert all(colour in (None, each) for colour, each in zip(colours, found, strict=True))


def test_palette_is_part_of_what_a_checkpoint_keeps(tiny_data):
    data = OsteoclastDataset(
        data_root=str(tiny_data), batches=['M1'], pipeline=[], lazy_init=True, metainfo={'classes': ('osteoclast', 'x')}
    )
    assert data.metainfo['classes'] == ('osteoclast', 'x')
    assert len(data.metainfo['palette']) == 2
