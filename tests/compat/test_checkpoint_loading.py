import functools
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.hooks import EMAHook
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import CheckpointLoader, Runner
from mmengine.runner import checkpoint as mmengine_checkpoint

from noise_mm.compat.checkpoint_loading import load_checkpoint_file
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


@pytest.fixture
def stored(tmp_path):
    """Writes a checkpoint with `content` beside its weights."""

    def write(content=None, is_zip=True, name='some.pth'):
        path = tmp_path / name
        checkpoint = dict(state_dict=dict(weight=torch.arange(3.0)), more=content)
        torch.save(checkpoint, path, _use_new_zipfile_serialization=is_zip)
        return path

    return write


@pytest.mark.parametrize('is_zip', [True, False])
@pytest.mark.parametrize(
    'content',
    [
        np.float64(0.5),
        np.int64(3),
        np.bool_(True),
        np.arange(4, dtype=np.uint8),
        np.ones((2, 3), dtype=np.float32),
        HistoryBuffer([1.0, 2.0], [1, 1]),
        ConfigDict(classes=('osteoclast',), palette=[(1, 2, 3)], inner=dict(a=1)),
    ],
    ids=lambda content: type(content).__name__,
)
def test_what_mmengine_may_store_is_loaded(stored, content, is_zip):
    loaded = load_checkpoint_file(stored(content, is_zip))['more']
    assert type(loaded) is type(content)
    if isinstance(content, HistoryBuffer):
        assert [part.tolist() for part in loaded.data] == [part.tolist() for part in content.data]
        assert loaded.statistics('mean') == 1.5
    else:
        assert np.array_equal(loaded, content)


@pytest.mark.parametrize('module', ['numpy.core.multiarray', 'numpy._core.multiarray'])
def test_arrays_of_numpy_1_and_2(stored, tmp_path, module):
    path = stored([np.arange(4.0), np.float32(2)])
    renamed = tmp_path / 'renamed.pth'
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(renamed, 'w') as target:
        for name in source.namelist():
            data = source.read(name)
            for written in (b'numpy.core.multiarray', b'numpy._core.multiarray'):
                data = data.replace(b'c' + written + b'\n', b'c' + module.encode() + b'\n')
            target.writestr(name, data)
    assert module.encode() in renamed.read_bytes()
    array, scalar = load_checkpoint_file(renamed)['more']
    assert array.tolist() == [0, 1, 2, 3] and scalar == 2


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f'touch {self.path}',)


class GetsAttribute:
    """Asks the allowed `getattr` for something else than the statistics of HistoryBuffer."""

    def __init__(self, owner, name):
        self.arguments = owner, name

    def __reduce__(self):
        return getattr, self.arguments


@pytest.mark.parametrize('is_zip', [True, False])
@pytest.mark.parametrize('load', [load_checkpoint_file, lambda path: CheckpointLoader.load_checkpoint(str(path))])
def test_malicious_checkpoint_is_refused_by_name(stored, tmp_path, load, is_zip):
    trace = tmp_path / 'trace'
    path = stored(Evil(trace), is_zip)
    with pytest.raises(InputError, match=rf'some\.pth: refused .* asks for {os.system.__module__}\.system, which'):
        load(path)
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists()  # the trap was armed


@pytest.mark.parametrize(('owner', 'name'), [(HistoryBuffer, '__init__'), (np.ndarray, 'mean')])
def test_only_the_statistics_can_be_asked_for(stored, owner, name):
    with pytest.raises(InputError, match=r'asks for builtins\.getattr'):
        load_checkpoint_file(stored(GetsAttribute(owner, name)))


def test_unknown_classes_are_named_and_counted(stored):
    classes = [type(f'Class{i}', (), dict(__module__=__name__)) for i in range(5)]
    globals().update({item.__name__: item for item in classes})
    try:
        path = stored([item() for item in classes])
    finally:
        for item in classes:
            del globals()[item.__name__]
    with pytest.raises(InputError, match=rf'{__name__}\.Class') as caught:
        load_checkpoint_file(path)
    if hasattr(torch.serialization, 'get_unsafe_globals_in_checkpoint'):
        assert 'Class2 and 2 more' in str(caught.value)


@pytest.mark.parametrize('content', [np.array(['M1']), np.zeros(2, dtype=[('x', 'f4')])], ids=['text', 'record'])
def test_arrays_of_text_and_records_are_refused(stored, content):
    with pytest.raises(InputError, match=r'refused .* asks for numpy\.dtypes?\.'):
        load_checkpoint_file(stored(content))


@pytest.mark.parametrize(
    ('name', 'asked'), [('malicious.pt', r'posix\.system'), ('malicious_eval.pt', r'builtins\.eval')]
)
def test_malicious_reference_files(shared_dir, name, asked):
    trace = Path('/tmp/noise_pwned')
    was_there = trace.exists()
    with pytest.raises(InputError, match=rf'{name}: refused .* asks for {asked}, which'):
        load_checkpoint_file(shared_dir / 'parity' / name)
    assert trace.exists() == was_there


@pytest.mark.parametrize('name', ['ultralytics_yolov8n-seg_nc1', 'ultralytics_unstripped_tiny-seg_nc1'])
def test_ultralytics_checkpoint_is_to_be_converted(shared_dir, name):
    with pytest.raises(InputError, match=rf'Ultralytics .* tools/convert_checkpoint\.py \S+{name}\.pt \S+{name}\.pth'):
        load_checkpoint_file(shared_dir / 'parity' / f'{name}.pt')


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r'none\.pth: no such file'):
        load_checkpoint_file(tmp_path / 'none.pth')


def test_folder(tmp_path):
    with pytest.raises(InputError, match='cannot be read'):
        load_checkpoint_file(tmp_path)


@pytest.mark.parametrize('data', [b'', b'some text\n' * 9, pickle.dumps(dict(state_dict={}))])
def test_other_file(tmp_path, data):
    path = tmp_path / 'other.pth'
    path.write_bytes(data)
    with pytest.raises(InputError, match=r'other\.pth: not a checkpoint'):
        load_checkpoint_file(path)


@pytest.mark.parametrize('is_zip', [True, False])
@pytest.mark.parametrize('share', [0.2, 0.6, 0.95])
def test_truncated_file(stored, is_zip, share):
    path = stored(list(range(1000)), is_zip)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(InputError, match=r'some\.pth: damaged'):
        load_checkpoint_file(path)


@pytest.mark.parametrize('is_zip', [True, False])
@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')  # NumPy, at the end of a spoilt array
def test_files_with_changed_bytes_are_loaded_or_refused_in_one_line(stored, is_zip):
    path = stored(HistoryBuffer([1.0, 2.0], [1, 1]), is_zip)
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        data = bytearray(whole)
        for position in random.integers(16, len(data), 5):
            data[position] = random.integers(256)
        path.write_bytes(data)
        try:
            load_checkpoint_file(path)
        except InputError as error:
            assert '\n' not in str(error)
            refused += 1
    assert refused > 0


def test_zip_of_something_else(tmp_path):
    path = tmp_path / 'document.pth'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('word/document.xml', '<xml/>')
    with pytest.raises(InputError, match='damaged'):
        load_checkpoint_file(path)


def test_bare_weights(tmp_path):
    path = tmp_path / 'bare.pth'
    torch.save(dict(weight=torch.ones(1)), path)
    with pytest.raises(InputError, match=r"has no 'state_dict' \(its first keys: weight\)"):
        load_checkpoint_file(path)
    assert list(CheckpointLoader.load_checkpoint(str(path))) == ['weight']  # MMEngine takes them
    torch.save([1, 2], path)
    with pytest.raises(InputError, match='holds a list, not a checkpoint'):
        load_checkpoint_file(path)


def test_mmengine_asks_for_the_protection_also_for_urls(stored, tmp_path):
    trace = tmp_path / 'trace'
    url = stored(Evil(trace)).as_uri()
    with pytest.raises(pickle.UnpicklingError, match='system'):
        mmengine_checkpoint.load_from_http(url, model_dir=str(tmp_path / 'downloads'), progress=False)
    assert not trace.exists()
    assert isinstance(mmengine_checkpoint.load_url, functools.partial)


def test_a_missing_device_is_not_taken_for_damage(stored):
    if torch.cuda.is_available():
        pytest.skip('the error of a missing device needs a machine without one')
    path = stored()
    with pytest.raises((RuntimeError, AssertionError), match=r'CUDA|cuda'):
        CheckpointLoader.load_checkpoint(str(path), map_location='cuda:0')
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match='damaged'):
        CheckpointLoader.load_checkpoint(str(path), map_location='cuda:0')
