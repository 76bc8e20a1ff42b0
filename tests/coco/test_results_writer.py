import json

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from noise_mm.coco.results_writer import CocoResultsWriter
from noise_mm.errors import InputError


@pytest.fixture
def sources(tmp_path):
    """Two batches with the same image ids, which are not those of the dataset; osteoclasts have different ids."""
    sources = []
    for batch, category_id in (('H1', 1), ('H2', 5)):
        (tmp_path / batch).mkdir()
        path = tmp_path / batch / 'annotations.json'
        images = [{'id': 7, 'file_name': 'images/a.png', 'width': 8, 'height': 6}]
        path.write_text(
            json.dumps({'images': images, 'annotations': [], 'categories': [{'id': category_id, 'name': 'osteoclast'}]})
        )
        sources.append({'batch': batch, 'annotation_file': str(path), 'image_dir': str(tmp_path / batch)})
    return sources


def sample(sources, index, boxes, masks=None):
    found = {
        'bboxes': torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        'scores': torch.full((len(boxes),), 0.1),
        'labels': torch.zeros(len(boxes), dtype=torch.int64),
    }
    path = f'{sources[index]["image_dir"]}/images/a.png'
    return {
        'img_path': path,
        'ori_shape': (6, 8),
        'pred_instances': found if masks is None else {**found, 'masks': masks},
    }


def test_a_file_for_each_batch_with_the_ids_of_its_annotations(sources, tmp_path):
    writer = CocoResultsWriter(tmp_path / 'out', sources, ['osteoclast'])
    bitmap = np.zeros((1, 6, 8), dtype=bool)
    bitmap[0, 1:3, 2:6] = True
    writer.process({}, [sample(sources, 1, [[2, 1, 6, 3]], torch.from_numpy(bitmap)), sample(sources, 0, [])])
    assert writer.evaluate(2) == {}
    assert json.loads((tmp_path / 'out' / 'H1.json').read_text()) == []
    (result,) = json.loads((tmp_path / 'out' / 'H2.json').read_text())
    mask = result.pop('segmentation')
    assert (coco_mask.decode(mask) == bitmap[0]).all()
    # The score has all its digits: that of single precision, as the metric takes it.
    assert result == {'image_id': 7, 'category_id': 5, 'score': float(np.float32(0.1)), 'bbox': [2, 1, 4, 2]}


def test_detectors_write_boxes_only_and_run_lengths_are_taken_as_they_are(sources, tmp_path):
    writer = CocoResultsWriter(tmp_path, sources[:1], ['osteoclast'])
    rle = coco_mask.encode(np.ones((6, 8), dtype=np.uint8, order='F'))
    writer.process({}, [sample(sources, 0, [[0, 0, 8, 6]]), sample(sources, 0, [[0, 0, 8, 6]], [rle])])
    writer.evaluate(2)
    first, second = json.loads((tmp_path / 'H1.json').read_text())
    assert 'segmentation' not in first
    assert second['segmentation'] == {'size': [6, 8], 'counts': rle['counts'].decode()}


def test_faults_are_named_before_the_work(sources, tmp_path):
    with pytest.raises(InputError, match=r"H1/annotations.json: no category 'nucleus'"):
        CocoResultsWriter(tmp_path, sources, ['nucleus'])
    (tmp_path / 'file').write_text('')
    with pytest.raises(InputError, match='cannot write here'):
        CocoResultsWriter(tmp_path / 'file', sources, ['osteoclast'])
