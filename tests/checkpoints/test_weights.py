import pytest
import torch

from noise_mm.checkpoints import weights as module
from noise_mm.checkpoints.conversion import convert
from noise_mm.checkpoints.weights import find_weights, opened_weights
from noise_mm.errors import InputError


@pytest.fixture
def ultralytics(shared_dir):
    return {task: shared_dir / 'parity' / f'ultralytics_yolov8n-{task}.pt' for task in ('seg_nc1', 'det_nc2')}


def test_an_ultralytics_file_brings_size_and_classes(ultralytics):
    with opened_weights(str(ultralytics['seg_nc1'])) as weights:
        assert weights.description == 'YOLOv8n-seg, 1 class: osteoclast'
        assert weights.config.model.bbox_head.type == 'YOLOv8InsHead'
        assert weights.source == ultralytics['seg_nc1'] and weights.checkpoint.is_file()
        kept = weights.checkpoint
    assert not kept.exists()


def test_a_detector_has_no_masks(ultralytics):
    with pytest.raises(InputError, match='gives no masks'), opened_weights(str(ultralytics['det_nc2'])):
        pass
    with opened_weights(str(ultralytics['det_nc2']), masks=False) as weights:
        assert len(weights.config.classes) == 2


def test_a_checkpoint_of_ours_carries_its_scale_and_its_text_is_not_executed(ultralytics, tmp_path):
    convert(ultralytics['seg_nc1'], tmp_path / 'ours.pth')
    content = torch.load(tmp_path / 'ours.pth', weights_only=True)
    mark = tmp_path / 'executed'
    content['meta']['cfg'] = f'network_size_px = 320\npatch_size_px = 640\nopen({str(mark)!r}, "w")\nbatch_size = 3\n'
    torch.save(content, tmp_path / 'ours.pth')
    with opened_weights(str(tmp_path / 'ours.pth')) as weights:
        assert (weights.config.network_size_px, weights.config.patch_size_px) == (320, 640)
        assert weights.config.batch_size == 16
        assert weights.checkpoint == tmp_path / 'ours.pth'
    assert not mark.exists()
    content['meta']['cfg'] = '((' * 5000
    torch.save(content, tmp_path / 'ours.pth')
    with opened_weights(str(tmp_path / 'ours.pth')) as weights:
        assert weights.config.network_size_px == 416


def test_names_are_looked_up_and_unknown_ones_list_the_known(tmp_path, monkeypatch):
    (tmp_path / 'cultures-n.pth').touch()
    monkeypatch.setattr(module, 'WEIGHTS', tmp_path)
    assert find_weights('cultures-n') == tmp_path / 'cultures-n.pth'
    with pytest.raises(InputError, match='Known names: cultures-n'):
        find_weights('cultures-x')


@pytest.mark.parametrize('content', [{'state_dict': {}}, {'state_dict': {'a': torch.ones(2)}}])
def test_other_networks_are_refused(tmp_path, content):
    torch.save(content, tmp_path / 'other.pth')
    with pytest.raises(InputError, match='not a YOLOv8'), opened_weights(str(tmp_path / 'other.pth')):
        pass
