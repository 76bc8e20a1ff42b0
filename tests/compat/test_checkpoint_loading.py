import os

import pytest
import torch
from mmengine.hooks import EMAHook
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import CheckpointLoader, Runner
from mmengine.runner import checkpoint as mmengine_checkpoint

import noise_mm.register  # noqa: F401
from noise_mm.checkpoints.safe_loading import load_checkpoint_file
from noise_mm.errors import InputError


class ToyModel(BaseModel):
    """A line through points."""

    def __init__(self):
        super().__init__()
        self.line = torch.nn.Linear(1, 1)

    def forward(self, x, y, mode='tensor'):
        return dict(loss=((self.line(x) - y) ** 2).mean())


def _runner(work_dir, max_epochs, **options):
    points = [dict(x=torch.tensor([float(i)]), y=torch.tensor([2.0 * i])) for i in range(6)]
    return Runner(
        model=ToyModel(),
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=points,
            batch_size=2,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=max_epochs),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.01)),
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=4),
            dict(type='MultiStepLR', milestones=[2]),
        ],
        custom_hooks=[dict(type=EMAHook, priority=49)],
        default_hooks=dict(logger=dict(type='LoggerHook', interval=1)),
        experiment_name=f'{work_dir.name}_{max_epochs}_{bool(options)}',
        log_level='ERROR',
        default_scope='mmengine',
        **options,
    )


def test_checkpoint_of_a_run_is_loaded_and_the_run_resumed(tmp_path):
    first = _runner(tmp_path, max_epochs=2)
    first.train()
    stored = load_checkpoint_file(tmp_path / 'epoch_2.pth')
    assert {'state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers', 'message_hub', 'meta'} <= set(stored)
    history = stored['message_hub']['log_scalars']['train/loss']
    assert isinstance(history, HistoryBuffer)
    assert len(history.data[0]) == 6 and history.mean() > 0

    resumed = _runner(tmp_path, max_epochs=3, resume=True)
    resumed.train()
    assert resumed.iter == 9
    assert len(resumed.message_hub.get_scalar('train/loss').data[0]) == 9


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f'touch {self.path}',)


def _load_local(path):
    return CheckpointLoader.load_checkpoint(str(path))


def _load_url(path):
    folder = str(path.parent / 'downloads')
    return mmengine_checkpoint.load_from_http(path.as_uri(), model_dir=folder, progress=False)


@pytest.mark.parametrize('load', [_load_local, _load_url])
def test_mmengine_loads_files_and_urls_safely(tmp_path, load):
    path = tmp_path / 'some.pth'
    torch.save(dict(weight=torch.ones(2), history=HistoryBuffer([1.0], [1])), path)
    assert load(path)['weight'].tolist() == [1, 1]
    trace = tmp_path / 'trace'
    path = tmp_path / 'evil.pth'
    torch.save(Evil(trace), path)
    with pytest.raises(InputError, match=rf'evil\.pth: refused .* asks for {os.system.__module__}\.system, which'):
        load(path)
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists()  # the trap was armed
