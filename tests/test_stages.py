import pytest

from noise_mm.configuration import load_config
from noise_mm.errors import InputError
from noise_mm.stages import can_resume, initial_checkpoints, run_name, stage_config, stage_fold

PRETRAIN = 'noise/pretrain_osteoclast-nuclei_yolov8-l.py'


@pytest.fixture
def config(tmp_path, monkeypatch):
    """`config(init_from, fold=None, **settings)` -> a config whose work folder is `runs/this` below the current one."""
    monkeypatch.chdir(tmp_path)

    def make(init_from, protocol='m2m', fold=None, **settings):
        loaded = load_config(stage_config(f'noise/noise_{protocol}.py'), settings, fold)
        loaded.init_from = init_from
        loaded.work_dir = 'runs/this'
        return loaded

    return make


def put(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b'weights')
    return str(path)


def files(checkpoints):
    return [each['file'] for each in checkpoints]


def test_run_name():
    assert run_name('configs/noise/noise_m2h.py', None) == 'noise_m2h'
    assert run_name('configs/noise/noise_m2m.py', 'M5') == 'noise_m2m_M5'


@pytest.mark.parametrize(
    ('protocol', 'fold', 'folder'),
    [
        ('m2m', 'M5', 'pretrain_osteoclast-nuclei_yolov8-l_M5'),
        ('m2h', None, 'pretrain_osteoclast-nuclei_yolov8-l'),
        ('h2h', 'H1', 'pretrain_osteoclast-nuclei_yolov8-l'),  # that stage has mouse batches only
    ],
)
def test_previous_stage_is_found_beside_this_run(config, tmp_path, protocol, fold, folder):
    put(tmp_path / 'runs' / folder / 'best.pth')
    (found,) = initial_checkpoints(config([PRETRAIN], protocol, fold))
    assert (found['file'], found['origin']) == (f'runs/{folder}/best.pth', PRETRAIN)


def test_missing_stage_names_the_command(config):
    with pytest.raises(InputError, match=r'runs/pretrain.*_M5/best\.pth.*tools/train\.py .*pretrain.* --fold M5'):
        initial_checkpoints(config([PRETRAIN], fold='M5'))


def test_coco_weights_are_taken_where_they_are(config, tmp_path, capsys):
    assert initial_checkpoints(config(['coco'], model_size='s')) == []
    assert 'checkpoints/yolov8s-seg.pth: no COCO weights' in capsys.readouterr().out
    put(tmp_path / 'checkpoints' / 'yolov8s-seg.pth')
    assert files(initial_checkpoints(config(['coco'], model_size='s'))) == ['checkpoints/yolov8s-seg.pth']
    assert not capsys.readouterr().out


def test_coco_weights_of_a_detector(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put(tmp_path / 'checkpoints' / 'yolov8l.pth')
    stage = load_config(stage_config(PRETRAIN))
    stage.work_dir = 'runs/this'
    assert files(initial_checkpoints(stage)) == ['checkpoints/yolov8l.pth']


def test_coco_weights_of_another_name_must_exist(config, tmp_path):
    asked = config(['coco'])
    asked.coco_checkpoint = 'mine.pth'
    with pytest.raises(InputError, match=r'mine\.pth: no such checkpoint'):
        initial_checkpoints(asked)
    put(tmp_path / 'mine.pth')
    assert files(initial_checkpoints(asked)) == ['mine.pth']


def test_order_is_kept_and_options_replace(config, tmp_path):
    first, second = put(tmp_path / 'a.pth'), put(tmp_path / 'b.pth')
    assert files(initial_checkpoints(config([second, first]))) == [second, first]
    assert files(initial_checkpoints(config([PRETRAIN]), [first, second])) == [first, second]
    assert initial_checkpoints(config([])) == []


@pytest.mark.parametrize(('init_from', 'given'), [(['gone.pth'], None), ([], ['gone.pth'])])
def test_missing_file_is_refused(config, init_from, given):
    with pytest.raises(InputError, match=r'gone\.pth: no such checkpoint'):
        initial_checkpoints(config(init_from), given)


def test_unknown_stage_is_refused(config):
    with pytest.raises(InputError, match=r'no config noise/gone\.py'):
        initial_checkpoints(config(['noise/gone.py']))


def test_stage_of_a_run_elsewhere_is_asked_for_there(config):
    with pytest.raises(InputError, match=r'--fold M5 --work-dir runs/pretrain_osteoclast-nuclei_yolov8-l_M5\)'):
        initial_checkpoints(config([PRETRAIN], fold='M5'))
    usual = config([PRETRAIN], fold='M5')
    usual.work_dir = 'work_dirs/noise_m2m_M5'
    with pytest.raises(InputError, match=r'--fold M5\)'):
        initial_checkpoints(usual)


def test_load_from_replaces_the_list_and_must_exist(config, tmp_path):
    asked = config([PRETRAIN], load_from='mine.pth')
    with pytest.raises(InputError, match=r'mine\.pth: no such checkpoint'):
        initial_checkpoints(asked)
    put(tmp_path / 'mine.pth')
    assert initial_checkpoints(asked) == [{'file': 'mine.pth', 'origin': 'load_from'}]
    with pytest.raises(InputError, match=r'--init: load_from=mine\.pth'):
        initial_checkpoints(asked, ['mine.pth'])


def test_what_can_be_resumed(tmp_path):
    assert not can_resume(tmp_path / 'none')
    put(tmp_path / 'run' / 'last_checkpoint')
    assert can_resume(tmp_path / 'run')


def test_fold_of_a_stage(config):
    mouse = config([])
    assert stage_fold(mouse, 'M1') == 'M1'
    assert stage_fold(mouse, 'H1') is None
    assert stage_fold(mouse, None) is None
