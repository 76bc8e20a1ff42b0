import errno
from pathlib import Path

import pytest
from mmengine.runner import Runner

from noise_mm.errors import InputError
from noise_mm.training import runner as module
from noise_mm.training.runner import YOLOv8Runner


@pytest.mark.parametrize(('number', 'expected'), [(errno.ENOSPC, InputError), (errno.EIO, OSError)])
def test_a_checkpoint_that_finds_no_room_leaves_no_part(tmp_path, monkeypatch, number, expected):
    def write_a_part(runner, out_dir, filename, **kwargs):
        (Path(out_dir) / filename).write_bytes(b'part')
        raise OSError(number, 'x')

    monkeypatch.setattr(Runner, 'save_checkpoint', write_a_part)
    monkeypatch.setattr(module, 'image_passes', lambda runner, epochs: 0)
    runner = object.__new__(YOLOv8Runner)
    runner._train_loop, runner.param_schedulers = None, []
    (tmp_path / 'epoch_1.pth').write_bytes(b'whole')
    with pytest.raises(expected, match='disk is full' if expected is InputError else 'x'):
        runner.save_checkpoint(str(tmp_path), 'epoch_1.pth')
    assert [path.name for path in tmp_path.iterdir()] == ['epoch_1.pth']
    assert (tmp_path / 'epoch_1.pth').read_bytes() == b'whole'
