"""The hook alone with a stand-in runner, and in real runs of the nano network."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from noise_mm.checkpoints.safe_loading import load_checkpoint_file
from noise_mm.checkpoints.weights_digest import weights_digest
from noise_mm.configuration import load_config
from noise_mm.errors import InputError
from noise_mm.hooks import NucleiPseudoLabelHook, nuclei_pseudo_label_hook
from noise_mm.pseudo_labels import labelling


@pytest.fixture
def root(tiny_data, tmp_path):
    """The drawn batches, and their discs as if they were nuclei."""
    root = tmp_path / 'data'
    shutil.copytree(tiny_data, root)
    shutil.copytree(root / 'M1', root / 'nuclei')
    path = root / 'nuclei' / 'annotations.json'
    content = json.loads(path.read_text())
    for each in content['annotations']:
        each['category_id'] = 2
    path.write_text(json.dumps(content))
    return root


@pytest.fixture
def warnings(monkeypatch):
    """The messages of the hook."""
    messages = []
    monkeypatch.setattr(nuclei_pseudo_label_hook, 'print_log', lambda message, **_: messages.append(message))
    return messages


@pytest.fixture
def train(repo_dir, root, tmp_path):
    """Runs stage 1 for one epoch; `train(resume='auto')` goes on with it."""
    from noise_mm.training.run import train as start

    path = tmp_path / 'stage1.py'
    path.write_text(
        f"_base_ = '{repo_dir / 'configs/noise/nuclei_detector_yolov8-l.py'}'\n"
        f"model_size = 'n'\ndata_root = '{root}'\ntrain_batches = ['M1']\ntest_batches = []\ninit_from = []\n"
        "later_validation = 'kept'\nnetwork_size_px = 64\nbatch_size = 2\nnum_workers = 0\nmax_epochs = 1\n"
        'nominal_batch_size = 2\nhooks = dict(close_mosaic=None, pseudo_labels=dict(score_thr=0.001))\n'
    )

    def run(resume=None, **options):
        config = load_config(path, options)
        config.work_dir, config.launcher = str(tmp_path / 'run'), 'none'
        start(config, resume=resume)
        return tmp_path / 'run'

    return run


def test_missing_batches_are_named_at_the_beginning_and_at_the_end(root, warnings, monkeypatch, tmp_path):
    monkeypatch.setattr(nuclei_pseudo_label_hook, 'label_batches', lambda *args: pytest.fail('nothing to label'))
    hook = NucleiPseudoLabelHook(['M8', 'M9'], str(root))
    runner = SimpleNamespace(work_dir=str(tmp_path))
    hook.before_train(runner)
    assert len(warnings) == 1
    (tmp_path / 'best.pth').write_bytes(b'')
    hook.after_train(runner)
    assert len(warnings) == 2
    for message in warnings:
        assert 'no batch M8, M9' in message
        assert 'stage 2' in message


def test_faulty_batches_and_settings_are_refused_before_the_training(root, warnings):
    with pytest.raises(InputError, match='score_thr'):
        NucleiPseudoLabelHook(['M1'], str(root), score_thr=2)
    (root / 'M1' / 'annotations.json').write_text('{}')
    with pytest.raises(InputError, match=r'M1.annotations\.json: not a COCO file'):
        NucleiPseudoLabelHook(['M1'], str(root)).before_train(SimpleNamespace())


def test_a_run_without_a_best_checkpoint_cannot_label(root, tmp_path):
    hook = NucleiPseudoLabelHook(['M1'], str(root))
    with pytest.raises(InputError, match=r'best\.pth: the run has kept no best checkpoint'):
        hook.after_train(SimpleNamespace(work_dir=str(tmp_path)))


def test_the_best_weights_label_when_the_training_ends(train, root):
    folder = train()
    content = json.loads((root / 'pseudo' / 'M1.json').read_text())
    provenance = content['info']['pseudo_labels']
    digest = weights_digest(load_checkpoint_file(folder / 'best.pth')['state_dict'])
    assert provenance['made_from']['weights_sha256'] == digest
    assert digest == weights_digest(load_checkpoint_file(folder / 'epoch_1.pth')['state_dict'])
    assert provenance['detector']['train_batches'] == ['M1']
    assert provenance['detector']['checkpoint'] == 'best.pth'
    osteoclasts = [each for each in content['annotations'] if each['category_id'] == 1]
    assert osteoclasts == json.loads((root / 'M1' / 'annotations.json').read_text())['annotations']
    assert not (root / 'pseudo' / 'M2.json').exists()


@pytest.mark.slow
def test_a_run_that_was_cut_while_it_labelled_goes_on_there(train, root, monkeypatch):
    def cut(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(labelling, '_write', cut)
        with pytest.raises(KeyboardInterrupt):
            train()
    assert not list(Path(root / 'pseudo').iterdir())
    train(resume='auto')
    path = root / 'pseudo' / 'M1.json'
    before = path.stat().st_mtime_ns, path.read_bytes()
    train(resume='auto')
    assert (path.stat().st_mtime_ns, path.read_bytes()) == before
    path.unlink()
    train(resume='auto')
    assert path.read_bytes() == before[1]
