import pickle

import numpy as np
import pytest
import torch
from mmdet.structures.mask import encode_mask_results
from mmengine.structures import InstanceData
from pycocotools import mask as coco_mask

from noise_mm.models.run_length_masks import RunLengthMasks

BITMAPS = np.random.default_rng(0).random((3, 5, 7)) > 0.5


@pytest.fixture
def masks():
    return RunLengthMasks([coco_mask.encode(np.asfortranarray(each, dtype=np.uint8)) for each in BITMAPS], (5, 7))


def test_arrays_when_they_are_asked_for(masks):
    assert np.array_equal(masks.astype(bool), BITMAPS)
    assert masks[:0].astype(bool).shape == (0, 5, 7)
    assert torch.equal(masks.cpu(), torch.from_numpy(BITMAPS))
    assert encode_mask_results(masks) == list(masks)


def test_selection_as_the_visualizer_makes_it(masks):
    found = InstanceData(scores=torch.tensor([0.9, 0.1, 0.8]), masks=masks)
    assert np.array_equal(found[found.scores > 0.5].masks.astype(bool), BITMAPS[[0, 2]])
    assert found[found.scores > 1].masks.astype(bool).shape == (0, 5, 7)


def test_pickle(masks):
    again = pickle.loads(pickle.dumps(masks))
    assert list(again) == list(masks)
    assert again.size == (5, 7)
