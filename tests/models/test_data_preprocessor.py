import torch
from mmyolo.models import YOLOv5DetDataPreprocessor

from noise_mm.models import IgnoredRegionsPreprocessor

SETTINGS = {'mean': [0, 0, 0], 'std': [255, 255, 255], 'bgr_to_rgb': True}


def test_ignored_regions_pass_and_all_else_is_as_in_the_parent():
    samples = {'bboxes_labels': torch.rand(3, 6), 'masks': torch.zeros(2, 4, 4)}
    batch = {'inputs': torch.randint(0, 255, (2, 3, 16, 16), dtype=torch.uint8), 'data_samples': samples}
    expected = YOLOv5DetDataPreprocessor(**SETTINGS)(batch, training=True)
    regions = torch.rand(2, 6)
    found = IgnoredRegionsPreprocessor(**SETTINGS)(
        {**batch, 'data_samples': {**samples, 'ignored': regions}}, training=True
    )
    assert torch.equal(found['data_samples'].pop('ignored'), regions)
    assert found['data_samples'].keys() == expected['data_samples'].keys()
    assert torch.equal(found['inputs'], expected['inputs'])
    assert 'ignored' not in IgnoredRegionsPreprocessor(**SETTINGS)(batch, training=True)['data_samples']
