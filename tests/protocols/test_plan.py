from dataclasses import replace
from pathlib import Path

import pytest

from noise_mm.configuration import load_config
from noise_mm.errors import InputError
from noise_mm.protocols.methods import METHODS, PROTOCOLS
from noise_mm.protocols.plan import Study, data_of, plan, refuse_seen
from noise_mm.stages import CONFIGS

DETECTOR, PRETRAIN = 'nuclei_detector_yolov8-l', 'pretrain_osteoclast-nuclei_yolov8-l'


def names(study):
    return [(step.tool, step.folder.name, step.fold) for step in plan(study, data_of(study))]


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_configs_say_what_they_are_and_start_from_the_stage_before(tmp_path, protocol, method):
    study = Study(protocol, method, tmp_path)
    config = load_config(CONFIGS / study.config)
    assert (config.protocol, config.method) == (protocol, method)
    stage = METHODS[method].pretraining
    assert config.init_from == {'yolov8': ['coco'], 'random-init': []}.get(method, ['coco', stage])
    human = {'m2h': ('H1', 'H2'), 'h2h': ('H1', 'H2')}.get(protocol, ())
    mouse = () if protocol == 'h2h' and not stage else ('M1', 'M2', 'M3', 'M4', 'M5')
    folds = {'m2m': mouse, 'm2h': (None,), 'h2h': human}[protocol]
    data = data_of(study)
    assert (data.mouse, data.human, data.folds) == (mouse, human, folds)


def test_every_stage_of_a_mouse_fold_leaves_its_batch_out(make_study):
    assert names(make_study('m2m', 'noise', folds=('M2',))) == [
        ('train', f'{DETECTOR}_M2', 'M2'),
        ('pseudo_label', f'{DETECTOR}_M2', 'M2'),
        ('train', f'{PRETRAIN}_M2', 'M2'),
        ('train', 'noise_m2m_M2', 'M2'),
        ('test', 'noise_m2m_M2', 'M2'),
    ]
    _, label, *_ = plan(*both(make_study('m2m', 'noise', folds=('M2',))))
    assert label.options[-3:] == ('--batches', 'M1', 'M3')


def both(study):
    return study, data_of(study)


def test_human_folds_share_the_mouse_stages(make_study):
    assert names(make_study('h2h', 'noise')) == [
        ('train', DETECTOR, None),
        ('pseudo_label', DETECTOR, None),
        ('train', PRETRAIN, None),
        ('train', 'noise_h2h_H1', 'H1'),
        ('test', 'noise_h2h_H1', 'H1'),
        ('train', 'noise_h2h_H2', 'H2'),
        ('test', 'noise_h2h_H2', 'H2'),
    ]


def test_one_run_without_fold(make_study):
    assert names(make_study('m2h', 'nuclei-free')) == [
        ('train', 'pretrain_osteoclast_yolov8-l', None),
        ('train', 'nuclei-free_m2h', None),
        ('test', 'nuclei-free_m2h', None),
    ]
    assert names(make_study('m2h', 'yolov8')) == [('train', 'yolov8_m2h', None), ('test', 'yolov8_m2h', None)]


def test_folds_come_one_after_the_other(make_study):
    study = make_study('m2m', 'random-init', folds=('M3', 'M1'))
    assert [fold for _, _, fold in names(study)] == ['M1', 'M1', 'M3', 'M3']


def test_each_stage_finds_the_one_before_it_where_the_tools_look(make_study):
    from noise_mm.command_line import parse_cfg_options
    from noise_mm.stages import initial_checkpoints

    for protocol in PROTOCOLS:
        for mouse, human in ((('M1', 'M2'), ('H1', 'H2')), (('A', 'B'), ('M1', 'X'))):
            options = {'mouse': mouse} | ({} if protocol == 'm2m' else {'human': human})
            study = make_study(protocol, 'noise', **options)
            for step in plan(study, data_of(study)):
                if step.tool == 'train' and step.title.startswith('stage 3'):
                    config = load_config(CONFIGS / step.config, parse_cfg_options(list(step.cfg_options)), step.fold)
                    config.work_dir = str(step.folder)
                    stage_2 = step.needs[0] / 'best.pth'
                    stage_2.parent.mkdir(parents=True, exist_ok=True)
                    stage_2.touch()
                    assert initial_checkpoints(config)[-1]['file'] == str(stage_2)
                    stage_2.unlink()


def test_resolved_batches_of_each_stage(make_study):
    from noise_mm.command_line import parse_cfg_options

    def batches(study):
        found = {}
        for step in plan(study, data_of(study)):
            config = load_config(CONFIGS / step.config, parse_cfg_options(list(step.cfg_options)), step.fold)
            found[step.folder.name] = (config.train_batches, config.test_batches)
        return found

    assert batches(make_study('m2m', 'noise', folds=('M1',))) == {
        f'{DETECTOR}_M1': (['M2', 'M3'], ['M1']),
        f'{PRETRAIN}_M1': (['M2', 'M3'], ['M1']),
        'noise_m2m_M1': (['M2', 'M3'], ['M1']),
    }
    assert batches(make_study('m2h', 'noise', human=('H2',))) == {
        DETECTOR: (['M1', 'M2', 'M3'], []),
        PRETRAIN: (['M1', 'M2', 'M3'], []),
        'noise_m2h': (['M1', 'M2', 'M3'], ['H2']),
    }
    assert batches(make_study('h2h', 'yolov8', human=('H1', 'H2', 'H3')))['yolov8_h2h_H2'] == (['H1', 'H3'], ['H2'])


def test_the_words_of_a_command(make_study):
    study = make_study('m2m', 'noise', folds=('M2',), amp=True, cfg_options=('max_epochs=1',))
    train, label, *_, test = plan(study, data_of(study))
    root, data = study.root, data_of(study).root
    settings = ['--cfg-options', 'train_batches=[M1,M2,M3]', f'data_root={data}', 'model_size=n', 'max_epochs=1']
    early = [*settings[:2], f'pseudo_dir={Path("runs/pseudo").absolute().as_posix()}', *settings[2:]]
    run = str(root / f'{DETECTOR}_M2')
    assert train.arguments('C') == ['C', '--fold', 'M2', '--work-dir', run, '--amp', *early]
    assert train.arguments('C', resume=True)[-len(early) - 1] == '--resume'
    where = ['--data-root', str(data), '--batches', 'M1', 'M3']
    assert label.arguments('C') == ['C', f'{run}/best.pth', '--fold', 'M2', *where, *early]
    run = str(root / 'noise_m2m_M2')
    assert test.arguments('C') == ['C', f'{run}/best.pth', '--fold', 'M2', '--work-dir', run, *settings]
    assert Study('m2h', 'yolov8', root).cfg_options == ()


def test_settings_go_to_the_stages_that_have_their_group(make_study):
    options = ('hooks.pseudo_labels.score_thr=0.3', 'test_evaluator.mode=ultralytics', 'new.thing=1', 'max_epochs=2')
    study = make_study('m2h', 'noise', cfg_options=options)
    given = {
        (step.tool, step.title): [option for option in step.cfg_options if option in options]
        for step in plan(study, data_of(study))
    }
    assert given['train', 'stage 1'] == given['pseudo_label', 'nuclei labels'] == list(options)
    assert given['train', 'stage 2'] == given['train', 'stage 3'] == given['test', 'test'] == list(options[1:])


@pytest.mark.parametrize(
    ('protocol', 'method', 'options', 'words'),
    [
        ('m2m', 'noise', {'folds': ('H1',)}, '--folds H1: not held out in m2m'),
        ('m2h', 'noise', {'folds': ('H1',)}, 'm2h has no folds'),
        ('m2m', 'noise', {'human': ('H1',)}, 'm2m has none'),
        ('h2h', 'yolov8', {'mouse': ('M1',)}, 'yolov8 has none in h2h'),
        ('m2h', 'noise', {'human': ('M1',)}, 'M1: is a mouse batch too'),
        ('m2m', 'noise', {'mouse': ('M1', 'M1')}, 'named twice'),
        ('m2m', 'noise', {'mouse': ('M1',)}, 'two or more'),
        ('h2h', 'noise', {'human': ('H1',)}, '--human-batches H1: one is held out in turn'),
        ('m2h', 'noise', {'cfg_options': ('model_siz=n',)}, 'Did you mean model_size'),
    ],
)
def test_what_is_no_protocol_is_refused(make_study, protocol, method, options, words):
    with pytest.raises(InputError, match=words):
        data_of(make_study(protocol, method, **options))


def test_missing_files(make_study, data_root):
    data = data_of(make_study('m2h', 'noise', human=('H1', 'H9')))
    assert data.missing(with_nuclei=True) == [data_root / 'H9' / 'annotations.json']
    (data_root / 'nuclei' / 'annotations.json').unlink()
    assert len(data.missing(with_nuclei=True)) == 2
    assert len(data.missing(with_nuclei=False)) == 1


def test_epochs_of_each_stage_and_labels_of_the_study(make_study):
    study = make_study('m2h', 'noise', epochs=(4, 5, 6), root=Path('runs/arm'))
    options = {step.folder.name: step.cfg_options for step in plan(*both(study)) if step.tool == 'train'}
    labels = f'pseudo_dir={Path("runs/arm/pseudo").absolute().as_posix()}'
    assert [options[name][:2] for name in (DETECTOR, PRETRAIN)] == [
        ('train_batches=[M1,M2,M3]', 'max_epochs=4'),
        ('train_batches=[M1,M2,M3]', 'max_epochs=5'),
    ]
    assert labels in options[DETECTOR] and labels in options[PRETRAIN]
    assert 'max_epochs=6' in options['noise_m2h'] and labels not in options['noise_m2h']
    assert load_config(CONFIGS / f'noise/{PRETRAIN}.py', {'pseudo_dir': 'a/without_coco/pseudo'}, 'M1').pseudo_dir == (
        'a/without_coco/pseudo/without_M1'
    )
    with pytest.raises(InputError, match='--epochs 1 2: noise has 3 trainings'):
        data_of(make_study('m2h', 'noise', epochs=(1, 2)))


def test_a_batch_in_training_and_test_is_refused(make_study):
    with pytest.raises(InputError, match='--human-batches M1: is a mouse batch too'):
        data_of(make_study('m2h', 'yolov8', human=('M1',)))
    study = make_study('m2h', 'yolov8', human=('M1', 'H1'), allow_seen=True)
    assert [step.options for step in plan(*both(study))] == [('--allow-seen',), ('--allow-seen',)]
    with pytest.raises(InputError, match=r'runs/yolov8_m2h: test data seen in training: batch M1 \(trained on\)'):
        refuse_seen(plan(*both(study)), allow_seen=False)


def test_stages_that_have_seen_the_test_batch_are_refused(make_study):
    """Also where stage 3 itself is not trained on it."""
    steps = plan(*both(make_study('m2h', 'noise')))
    moved = ('train_batches=[M2,M3]', 'test_batches=[M1]')
    late = [replace(step, cfg_options=(*step.cfg_options, *moved)) for step in steps[-2:]]
    with pytest.raises(InputError, match=rf'noise_m2h: .*batch M1 \(trained on by runs/{PRETRAIN}\)'):
        refuse_seen([*steps[:-2], *late], allow_seen=False)


def test_folds_named_twice_are_refused(make_study):
    with pytest.raises(InputError, match='--folds: batch M1 is named twice'):
        data_of(make_study('m2m', 'yolov8', folds=('M1', 'M1')))
