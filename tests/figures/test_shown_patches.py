import json
from collections import Counter

import pytest

from noise_mm.errors import InputError
from noise_mm.figures.shown_patches import choose_patches, named_patches, read_patches

CATEGORIES = [{'id': 1, 'name': 'osteoclast'}, {'id': 2, 'name': 'nucleus'}]


def annotation_file(folder, wells):
    """A batch of wells with some patches each; every patch has as many cells as its place in the well, from 0."""
    images, annotations = [], []
    for well, n_patches in wells.items():
        for place in range(n_patches):
            number = len(images) + 1
            images.append(
                {'id': number, 'file_name': f'images/{well}_{place}_0.png', 'width': 40, 'height': 30, 'well': well}
            )
            for _ in range(place):
                ring = [[1, 1, 11, 1, 11, 11]]
                annotations.append({'image_id': number, 'category_id': 1, 'segmentation': ring, 'iscrowd': 0})
    folder.mkdir()
    content = {'images': images, 'annotations': annotations, 'categories': CATEGORIES}
    (folder / 'annotations.json').write_text(json.dumps(content))
    return folder / 'annotations.json'


@pytest.fixture
def patches(tmp_path):
    """M1 has two wells of five patches and one of two, M2 one well of four; the first patch of each has no cell."""
    batches = {'M1': {'a': 5, 'b': 5, 'c': 2}, 'M2': {'a': 4}}
    return [
        patch
        for batch, wells in batches.items()
        for patch in read_patches(annotation_file(tmp_path / batch, wells), tmp_path / batch, batch, ['osteoclast'])
    ]


def test_what_is_known_of_a_patch(patches, tmp_path):
    patch = patches[2]
    assert (patch.name, patch.well, patch.size_px, patch.n_cells) == ('M1/a_2_0', 'a', (40, 30), 2)
    assert patch.path == tmp_path / 'M1' / 'images' / 'a_2_0.png'
    assert [(outline.label, outline.geometry.area) for outline in patch.outlines()] == [('osteoclast', 50.0)] * 2


@pytest.mark.parametrize('seed', range(5))
def test_patches_are_drawn_evenly_over_batches_and_wells(patches, seed):
    chosen = choose_patches(patches, 6, seed)
    assert all(patch.n_cells for patch in chosen)
    assert [patch.batch for patch in chosen] == ['M1'] * 3 + ['M2'] * 3
    assert Counter(patch.well for patch in chosen[:3]) == {'a': 1, 'b': 1, 'c': 1}
    assert len(set(chosen)) == 6


def test_the_seed_decides_and_the_order_of_files_does_not(patches):
    drawn = {seed: [patch.name for patch in choose_patches(patches, 4, seed)] for seed in range(6)}
    assert drawn[3] == [patch.name for patch in choose_patches(patches[::-1], 4, 3)]
    assert len(set(map(tuple, drawn.values()))) > 1


def test_all_patches_with_cells_can_be_drawn_but_no_more(patches):
    with_cells = [patch for patch in patches if patch.n_cells]
    assert set(choose_patches(patches, len(with_cells), 0)) == set(with_cells)
    with pytest.raises(InputError, match='only 12 patches have annotated cells'):
        choose_patches(patches, len(with_cells) + 1, 0)


def test_patches_by_name(patches):
    names = ['b_1_0', 'M2/a_3_0', 'b_2_0.png', 'M1/a_0_0.png']
    assert [patch.name for patch in named_patches(patches, names)] == ['M1/b_1_0', 'M2/a_3_0', 'M1/b_2_0', 'M1/a_0_0']
    with pytest.raises(InputError, match=r'--patches z: no such patch .* e.g. M1/a_0_0'):
        named_patches(patches, ['z'])
    with pytest.raises(InputError, match='--patches a_1_0: is in several batches. Write M1/a_1_0 or M2/a_1_0'):
        named_patches(patches, ['a_1_0'])


def test_other_classes_are_not_shown_and_ignored_cells_do_not_count(tmp_path):
    path = annotation_file(tmp_path / 'M1', {'a': 2})
    content = json.loads(path.read_text())
    ring = [[1, 1, 11, 1, 11, 11]]
    content['annotations'] = [
        {'image_id': 1, 'category_id': 2, 'segmentation': ring},
        {'image_id': 2, 'category_id': 1, 'segmentation': ring, 'iscrowd': 1},
    ]
    path.write_text(json.dumps(content))
    first, second = read_patches(path, tmp_path, 'M1', ['osteoclast'])
    assert (first.outlines(), second.n_cells) == ([], 0)
    assert [outline.ignored for outline in second.outlines()] == [True]


@pytest.mark.parametrize('content', [[], {'images': []}, {'images': [{'id': 1}], 'annotations': [], 'categories': []}])
def test_files_that_are_no_dataset_are_named(tmp_path, content):
    (tmp_path / 'a.json').write_text(json.dumps(content))
    with pytest.raises(InputError, match='a.json: (not a COCO file|image 1 has no valid file_name)'):
        read_patches(tmp_path / 'a.json', tmp_path, 'M1', ['osteoclast'])


def test_faulty_masks_are_named(tmp_path):
    path = annotation_file(tmp_path / 'M1', {'a': 2})
    content = json.loads(path.read_text())
    content['annotations'][0]['segmentation'] = [[1, 2, 3]]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r'a_1_0.png: a cell of it has no mask that can be read'):
        read_patches(path, tmp_path, 'M1', ['osteoclast'])[1].outlines()
