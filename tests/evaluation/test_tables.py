import csv
import io

import pytest

from noise_mm.errors import InputError
from noise_mm.evaluation import paper_tables
from noise_mm.evaluation.table_formats import render
from noise_mm.evaluation.tables import KEYS, METHOD_NAMES, Run, average_and_deviation, make_tables, rounded
from noise_mm.protocols.methods import METHODS


def report_of(row, mode='coco', **run):
    """The parts of a metrics.json that tables need, from a row of the paper."""
    mean = [
        {'iou_thr': thr, **dict(zip(KEYS, map(float, values), strict=True))}
        for thr, values in paper_tables.values_of(row).items()
    ]
    common = {'schema': 1, 'mode': mode, 'mask_resolution': 'native', 'iou_thrs': [row['iou_thr'] for row in mean]}
    return {**common, 'run': run, 'segm': {'mean': mean, 'classes': {}}}


def run(row=paper_tables.TABLE_2_AVERAGE, source='work/metrics.json', **keys):
    return Run.of_file(source, report_of(row, **keys))


def papers_runs(folder='yolov8/{}'):
    folds = [
        run(row, f'{folder.format(batch)}/metrics.json', fold=batch, method='yolov8', protocol='m2m')
        for batch, row in sorted(paper_tables.TABLE_2_FOLDS.items())
    ]
    others = [
        run(row, f'{method}_{protocol}/metrics.json', method=method, protocol=protocol)
        for (method, protocol), row in paper_tables.TABLE_3.items()
    ]
    return [*reversed(others), *folds]


def test_the_papers_folds_give_its_average_and_standard_deviation_to_the_last_digit():
    folds, _ = make_tables(papers_runs())
    *_, average, deviation = folds.rows
    assert (average.labels[0], average.cells) == ('Average', paper_tables.TABLE_2_AVERAGE.split())
    assert (deviation.labels[0], deviation.cells) == ('Standard Deviation', paper_tables.TABLE_2_DEVIATION.split())


@pytest.mark.parametrize('folder', ['yolov8/{}', 'yolov8_m2m_{}'])
def test_the_layouts_of_both_tables(folder):
    folds, configurations = make_tables(papers_runs(folder))
    batches = [('Fold 1', 'M1'), ('Fold 2', 'M5'), ('Fold 3', 'M4'), ('Fold 4', 'M3'), ('Fold 5', 'M2')]
    assert [row.labels for row in folds.rows] == [*batches, ('Average', ''), ('Standard Deviation', '')]
    assert folds.title.startswith('YOLOv8 M→M (segm, mode coco, masks at native resolution')
    names = ['YOLOv8 M→M', 'YOLOv8 M→H', 'NOISe M→H', 'YOLOv8 H→H', 'NOISe H→H']
    assert [row.labels for row in configurations.rows] == [(name,) for name in names]
    assert configurations.rows[0].cells == paper_tables.TABLE_2_AVERAGE.split()


def test_ablations_stand_before_what_they_take_something_from():
    methods = ('noise', 'own', 'yolov8', 'random-init', 'nuclei-free')
    (table,) = make_tables([run(method=method, protocol='m2h') for method in methods])
    names = ['YOLOv8 (random init)', 'YOLOv8', 'NOISe (nuclei-free)', 'NOISe', 'own']
    assert [row.labels for row in table.rows] == [(f'{name} M→H',) for name in names]


def test_every_method_that_can_be_run_has_a_name():
    assert set(METHODS) <= set(METHOD_NAMES)


def test_the_papers_rows_stand_below_ours():
    for table in make_tables(papers_runs(), with_paper=True):
        ours, papers = table.rows[0::2], table.rows[1::2]
        assert [row.labels[0] for row in papers] == [f'{row.labels[0]} (paper)' for row in ours]
        assert [row.cells for row in papers] == [row.cells for row in ours]


def test_what_the_paper_has_not_gets_no_row():
    (folds, configurations) = make_tables([run(fold='M1', method='noise', protocol='m2m')], with_paper=True)
    assert [row.labels[0] for row in folds.rows] == ['Fold 1', 'Average', 'Standard Deviation']
    assert len(configurations.rows) == 1


def test_batches_that_the_paper_does_not_have_are_numbered_by_name():
    runs = [run(fold=batch, method='noise', protocol='h2h') for batch in ('H2', 'H1')]
    assert [row.labels for row in make_tables(runs)[0].rows[:2]] == [('Fold 1', 'H1'), ('Fold 2', 'H2')]


def test_one_fold_has_no_deviation_and_what_is_not_defined_no_average():
    content = report_of(paper_tables.TABLE_2_AVERAGE, fold='M1')
    content['segm']['mean'][0]['ap'] = None
    fold, average, deviation = make_tables([Run.of_file('a/metrics.json', content)])[0].rows
    assert fold.cells[:4] == average.cells[:4] == ['0.884', '0.777', '-', '0.881']
    assert set(deviation.cells) == {'-'}


def test_runs_measured_in_different_ways_never_share_a_table():
    runs = [run(mode=mode, fold='M1', method='yolov8', protocol='m2m') for mode in ('ultralytics', 'coco')]
    tables = make_tables(runs)
    assert len(tables) == 4
    assert ['mode coco' in table.title for table in tables] == [True, False, True, False]


@pytest.mark.parametrize(
    ('path', 'keys', 'name'),
    [
        ('work/cellpose/metrics.json', {}, 'cellpose'),
        ('work/noise/M5/metrics.json', {'fold': 'M5'}, 'noise'),
        ('work/watershed.json', {}, 'watershed'),
        ('work/a/metrics.json', {'method': 'noise-random'}, 'noise-random'),
        ('work/a/metrics.json', {'protocol': 'm2h', 'method': 'noise-nuclei-free'}, 'noise-nuclei-free M→H'),
        ('work/a/metrics.json', {'protocol': 'm2h'}, 'M→H'),
    ],
)
def test_names_of_configurations(path, keys, name):
    assert run(source=path, **keys).configuration == name


@pytest.mark.parametrize(
    ('value', 'text'),
    [(0.0005, '0.001'), (0.8025, '0.803'), (0.80249, '0.802'), (1, '1.000'), (None, '-'), (1e-9, '0.000')],
)
def test_rounding(value, text):
    assert rounded(value) == text


def test_averages_are_taken_in_decimals():
    averages, deviations = average_and_deviation([[0.801, 0.804], [0.5], [None, 0.5]])
    assert [rounded(value) for value in averages] == ['0.803', '0.500', '-']
    assert [rounded(value, 5) for value in deviations] == ['0.00212', '-', '-']


def test_formats():
    tables = make_tables(papers_runs(), with_paper=True)
    markdown, latex, rows = (render(tables, name) for name in ('md', 'latex', 'csv'))
    assert '| Fold 1 | M1 | 0.871 | 0.838 | 0.906 |' in markdown
    assert 'Fold 1 & M1 & 0.871 & 0.838 & 0.906 &' in latex
    assert r'NOISe M$\rightarrow$H (paper) & 0.868' in latex
    assert latex.count(r'\begin{tabular}') == latex.count(r'\end{tabular}') == 2
    parsed = list(csv.reader(io.StringIO(rows)))
    assert parsed[0][:5] == ['table', 'row', 'held_out', 'P_0.10', 'R_0.10']
    assert {len(row) for row in parsed} == {19}  # the last one: in what a row differs from the paper
    assert len(parsed) == 1 + 14 + 10


def test_latex_escapes_names():
    assert r'a\_b' in render(make_tables([run(source='a_b/metrics.json')]), 'latex')


def test_boxes():
    content = report_of(paper_tables.TABLE_2_AVERAGE, method='yolov8', protocol='m2h')
    content['bbox'] = content.pop('segm')
    (table,) = make_tables([Run.of_file('a/metrics.json', content)], kind='bbox', with_paper=True)
    assert len(table.rows) == 1  # the paper has no boxes
    with pytest.raises(InputError, match='has no segm scores'):
        make_tables([Run.of_file('a/metrics.json', content)])


def test_what_cannot_be_shown_is_named():
    with pytest.raises(InputError, match='no metrics.json is given'):
        make_tables([])
    with pytest.raises(InputError, match=r'b/metrics.json: is NOISe M→M, fold M1 as a/metrics.json is'):
        make_tables([run(source=f'{k}/metrics.json', fold='M1', method='noise', protocol='m2m') for k in 'ab'])
    other = report_of(paper_tables.TABLE_2_AVERAGE)
    other['iou_thrs'], other['segm']['mean'] = [0.5], other['segm']['mean'][2:3]
    with pytest.raises(InputError, match=r'b/metrics.json: has IoUs \[0.5\]'):
        make_tables([run(source='a/metrics.json'), Run.of_file('b/metrics.json', other)])
    with pytest.raises(InputError, match='format'):
        render(make_tables([run()]), 'html')


@pytest.mark.parametrize('content', [[], {'schema': 2}, {'schema': 1}, {'epoch': 3}])
def test_other_json_is_refused(content):
    with pytest.raises(InputError, match='no metrics of schema 1'):
        Run.of_file('a/metrics.json', content)


@pytest.mark.parametrize(
    'changes',
    [
        {'run': None},
        {'iou_thrs': 0.5},
        {'iou_thrs': ['a']},
        {'segm': None},
        {'segm': {'mean': [{}]}},
        {'segm': {'mean': []}},
        {'segm': {'mean': [{'precision': 'a', 'recall': 1, 'ap': 1}] * 5}},
        {'segm': {'mean': [{'precision': float('nan'), 'recall': 1, 'ap': 1}] * 5}},
    ],
)
def test_damaged_metrics_are_refused(changes):
    with pytest.raises(InputError, match=r'a/metrics.json: no metrics of schema 1'):
        Run.of_file('a/metrics.json', report_of(paper_tables.TABLE_2_AVERAGE) | changes)


def test_differences_from_the_paper_stand_below_the_table():
    """One note for rows of equal differences; none where the paper is not asked for."""
    runs = [run(method=method, protocol='m2h') for method in ('yolov8', 'noise')]
    (table,) = make_tables(runs, with_paper=True)
    assert table.notes == [
        'YOLOv8 M→H, NOISe M→H: mode coco instead of ultralytics; masks at native resolution instead of prototype; '
        'how it was trained is not known'
    ]
    assert f'\n- {table.notes[0]}\n' in render([table], 'md')
    assert render([table], 'latex').endswith(f': {table.notes[0]}\n')
    ours, papers, *_ = list(csv.DictReader(io.StringIO(render([table], 'csv'))))
    assert ours['differs_from_paper'].startswith('mode coco')
    assert papers['differs_from_paper'] == ''
    (plain,) = make_tables(runs)
    assert plain.notes == []
    assert 'differs_from_paper' not in render([plain], 'csv')


def test_runs_on_seen_data_are_refused_or_marked():
    runs = [run(method='noise', protocol='m2h', seen_in_training=['H1'])]
    with pytest.raises(InputError, match=r'metrics\.json: test data seen in training: H1'):
        make_tables(runs)
    (table,) = make_tables(runs, allow_seen=True, with_paper=True)
    assert [row.labels for row in table.rows] == [
        ('NOISe M→H (test data seen in training)',),
        ('NOISe M→H (paper)',),
    ]


def test_seeds_have_rows_of_their_own():
    def runs(seed):
        folds = paper_tables.TABLE_2_FOLDS.items()
        keys = {'method': 'yolov8', 'training': {'seed': seed}}
        return [
            run(method='noise', protocol='m2h', training={'seed': seed}, source=f'{seed}/noise/metrics.json'),
            *(run(row, f'{seed}/{fold}/metrics.json', fold=fold, protocol='m2m', **keys) for fold, row in folds),
        ]

    *folds, table = make_tables([*runs(1), *runs(0)])
    names = [(f'{name}, seed {seed}',) for name in ('YOLOv8 M→M', 'NOISe M→H') for seed in (0, 1)]
    assert [row.labels for row in table.rows] == names
    assert [each.title.partition(' (')[0] for each in folds] == ['YOLOv8 M→M, seed 0', 'YOLOv8 M→M, seed 1']
    assert all(len(each.rows) == 7 for each in folds)
    assert make_tables(runs(1))[-1].rows[-1].labels == ('NOISe M→H',)
    with pytest.raises(InputError, match='is YOLOv8 M→M, fold M1 as 1/M1/metrics.json is'):
        make_tables(runs(1) * 2)
