"""The paper's Table 2 (folds of one configuration) and Table 3 (configurations) from `metrics.json` contents. Pure.

Deviations are those of a sample (divided by n - 1). Means and deviations are taken of the numbers as they stand in the
files and in decimal arithmetic; a last digit of exactly 5 is rounded away from zero. From the paper's fold rows this
gives every digit of its rows Average and Standard Deviation (none of whose cells depends on how halves are rounded).
"""

import math
import re
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

from noise_mm.errors import InputError
from noise_mm.evaluation import paper_tables
from noise_mm.evaluation.evaluate import KINDS
from noise_mm.evaluation.paper_differences import differences_from_paper
from noise_mm.evaluation.report import METRICS_FILE, SCHEMA
from noise_mm.evaluation.table_formats import Row, Table
from noise_mm.seen_batches import MARK

KEYS = {'precision': 'P', 'recall': 'R', 'ap': 'mAP'}
# In the order of the paper, each ablation before the method that it takes something from.
METHOD_NAMES = {
    'rtmdet-ins': 'RTMDet-Ins (tiny)',
    'random-init': 'YOLOv8 (random init)',
    'yolov8': 'YOLOv8',
    'nuclei-free': 'NOISe (nuclei-free)',
    'noise': 'NOISe',
}
PROTOCOLS = ('m2m', 'm2h', 'h2h')  # the order in which the paper shows them
UNDEFINED = '-'
REPORT_KEYS = {'run', 'mode', 'mask_resolution', 'iou_thrs'}

Number = Decimal | None


@dataclass(frozen=True)
class Run:
    """One evaluation.

    Attributes:
        source: The file that it is from, for messages.
        name: Shown where the run does not say what it is.
        report: Content of its `metrics.json`, see `report`.
        method: The method, such as 'noise'; None where that is not known, as for the next four.
        protocol: The protocol, such as 'm2h'.
        fold: The held-out batch.
        seed: The seed of its training.
        seen: The test batches that were seen in training.
    """

    source: str
    name: str
    report: Mapping[str, Any]
    method: str | None
    protocol: str | None
    fold: str | None
    seed: int | None
    seen: list[str]

    @classmethod
    def of_file(cls, path: str | Path, report: Any) -> 'Run':
        """Return the run with the `metrics.json` content `report`, named after the folder of the file.

        A folder that is called as the fold is gives the name of the one that it is in; a file that is not called
        `metrics.json` gives its own.

        Raises:
            InputError: If the content is no `metrics.json` of this schema.
        """
        if not _is_report(report):
            raise InputError(f'{path}: no metrics of schema {SCHEMA}. Write it again with tools/test.py.')
        run, folder = report['run'], Path(path).absolute().parent
        name = (folder.parent if folder.name == run.get('fold') else folder).name
        return cls(
            str(path),
            name if Path(path).name == METRICS_FILE else Path(path).stem,
            report,
            *(run.get(key) for key in ('method', 'protocol', 'fold')),
            (run.get('training') or {}).get('seed'),
            list(run.get('seen_in_training') or ()),
        )

    @property
    def configuration(self) -> str:
        """Method and protocol as the paper writes them, such as 'NOISe M→H'; else the run's name."""
        method = METHOD_NAMES.get(self.method, self.method)
        protocol = re.sub(r'^([a-z])2([a-z])$', lambda found: '→'.join(found.groups()).upper(), self.protocol or '')
        return ' '.join(part for part in (method, protocol) if part) or self.name

    @property
    def key(self) -> str:
        """What an option calls the configuration, such as 'noise_m2h'."""
        return f'{self.method}_{self.protocol}' if self.method and self.protocol else self.name

    @property
    def measured(self) -> str:
        """How it was measured: what may stand in one table."""
        return f'mode {self.report["mode"]}, masks at {self.report["mask_resolution"]} resolution'


def make_tables(
    runs: Sequence[Run], kind: str = 'segm', with_paper: bool = False, allow_seen: bool = False
) -> list[Table]:
    """Return a table of folds for each configuration that has some, then one of all configurations.

    Runs measured in different ways (mode, resolution of masks) never share a table.

    Args:
        runs: What to show.
        kind: 'segm' for masks or 'bbox' for boxes.
        with_paper: Whether to put the paper's row below ours where it has one (masks only).
        allow_seen: Whether to show, and mark, runs whose test data were seen in training.

    Raises:
        InputError: If there is no run, one lacks what is to be shown, thresholds differ, two runs are of the same
            configuration and fold, or the test data of one were seen in training.
    """
    if not runs:
        raise InputError('no metrics.json is given. Run tools/test.py first.')
    refuse_seen(runs, allow_seen)
    iou_thrs = _common_thresholds(runs, kind)
    by_measure = defaultdict(list)
    for run in runs:
        by_measure[run.measured].append(run)
    tables, summaries = [], []
    for measured, measured_alike in sorted(by_measure.items()):
        groups = by_configuration(measured_alike)
        show = _Show(kind, iou_thrs, measured, with_paper and kind == 'segm')
        tables += [_fold_table(group, label_of(group, groups), show) for group in groups if group[0].fold is not None]
        summaries.append(_configuration_table(groups, show))
    return tables + summaries


def refuse_seen(runs: Sequence[Run], allow_seen: bool) -> None:
    """Refuse runs whose test data were seen in training, unless that is allowed."""
    for run in runs:
        if run.seen and not allow_seen:
            raise InputError(
                f'{run.source}: {MARK}: {", ".join(run.seen)}. Leave it out, or add --allow-seen, which marks its rows.'
            )


def average_and_deviation(columns: Sequence[Sequence[float | str | None]]) -> tuple[list[Number], list[Number]]:
    """Mean and sample standard deviation of each column.

    Args:
        columns: For each column its values. One that is None makes mean and deviation None; the deviation of a single
            value is None.
    """
    decimals = [[None if value is None else Decimal(str(value)) for value in column] for column in columns]
    averages = [None if None in column else statistics.mean(column) for column in decimals]
    deviations = [None if None in column or len(column) < 2 else statistics.stdev(column) for column in decimals]
    return averages, deviations


def rounded(value: float | Number, digits: int = 3) -> str:
    """Return a number with `digits` decimals, halves away from zero; '-' for None."""
    if value is None:
        return UNDEFINED
    return str(Decimal(str(value)).quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_UP))


# --- from runs to tables


def _is_report(report: Any) -> bool:
    """Return whether a file's content has all that the tables are made of."""
    if not isinstance(report, Mapping) or report.get('schema') != SCHEMA or not report.keys() >= REPORT_KEYS:
        return False
    try:
        means = [report[kind]['mean'] for kind in KINDS if kind in report]
        cells = [row[key] for mean in means for row in mean for key in KEYS]
        complete = all(len(mean) == len(report['iou_thrs']) for mean in means)
        return isinstance(report['run'], Mapping) and complete and all(map(_is_number, [*cells, *report['iou_thrs']]))
    except (KeyError, TypeError):  # one of these is no list or no dictionary
        return False


def _is_number(value: Any) -> bool:
    """Return whether this is a number, or None for what is not defined."""
    return value is None or (isinstance(value, int | float) and math.isfinite(value))


@dataclass(frozen=True)
class _Show:
    """What all tables of one call have in common; see `make_tables`."""

    kind: str
    iou_thrs: tuple[float, ...]
    measured: str
    with_paper: bool

    @property
    def what(self) -> str:
        """The part of a title that says how the numbers came about."""
        paper = '; paper: Ultralytics code' if self.with_paper else ''
        return f'({self.kind}, {self.measured}{paper})'

    @property
    def columns(self) -> list[tuple[str, str]]:
        """P, R and mAP at each threshold."""
        return [(name, f'{thr:.2f}') for thr in self.iou_thrs for name in KEYS.values()]

    def rows(
        self,
        labels: tuple[str, ...],
        values: Sequence[float | Number],
        paper_row: str | None,
        runs: Sequence[Run] = (),
    ) -> list[Row]:
        """Return our row, and the paper's below it if that is wanted and there is one.

        The row is noted to differ from the paper's setting as its runs do.
        """
        differences = [text for run in runs for text in differences_from_paper(run.report)] if self.with_paper else []
        rows = [Row(labels, [rounded(value) for value in values], '; '.join(dict.fromkeys(differences)))]
        if self.with_paper and paper_row is not None:
            paper = paper_tables.values_of(paper_row)
            cells = [cell for thr in self.iou_thrs for cell in paper.get(thr, (UNDEFINED,) * len(KEYS))]
            rows.append(Row((f'{labels[0].removesuffix(f" ({MARK})")} (paper)', *labels[1:]), cells))
        return rows


def _common_thresholds(runs: Sequence[Run], kind: str) -> tuple[float, ...]:
    for run in runs:
        if kind not in run.report:
            raise InputError(
                f'{run.source}: has no {kind} scores. Choose another kind, or score it with metric={kind}.'
            )
        first, own = runs[0].report['iou_thrs'], run.report['iou_thrs']
        if own != first:
            raise InputError(f'{run.source}: has IoUs {own}, {runs[0].source} has {first}. Summarise them one by one.')
    return tuple(runs[0].report['iou_thrs'])


def by_configuration(runs: Sequence[Run]) -> list[list[Run]]:
    """Return the runs of each configuration and seed, by fold; those with folds never with those without."""
    groups: dict[tuple[str, bool, int | None], list[Run]] = defaultdict(list)
    for run in sorted(runs, key=_place):
        group = groups[run.configuration, run.fold is None, run.seed]
        twice = [other for other in group if other.fold == run.fold]
        if twice:
            fold = f', fold {run.fold}' if run.fold else ''
            raise InputError(
                f'{run.source}: is {run.configuration}{fold} as {twice[0].source} is. Leave out one of them.'
            )
        group.append(run)
    return list(groups.values())


def label_of(runs: Sequence[Run], groups: Sequence[Sequence[Run]]) -> str:
    """Return the name of a configuration, with the seed where there are groups of several seeds."""
    first = runs[0]
    alike = [each for each, *_ in groups if each.configuration == first.configuration]
    several = sum((each.fold is None) == (first.fold is None) for each in alike) > 1
    seed = 'not known' if first.seed is None else first.seed
    return f'{first.configuration}, seed {seed}' if several else first.configuration


def _place(run: Run) -> tuple:
    """Sort runs as the paper does: by protocol, then method, then fold; what it has not comes last, by name."""
    places = [
        (names.index(value), '') if value in names else (len(names), value or '~')
        for value, names in ((run.protocol, PROTOCOLS), (run.method, tuple(METHOD_NAMES)))
    ]
    return (*places, run.configuration, run.seed or 0, *_fold_place(run), run.name)


def _fold_place(run: Run) -> tuple[int, str]:
    """Return the paper's number of the fold, less one, and the held-out batch; other batches come after the paper's."""
    batches = tuple(paper_tables.TABLE_2_FOLDS)
    return (batches.index(run.fold) if run.fold in batches else len(batches)), run.fold or ''


def _values(run: Run, show: _Show) -> list[float | None]:
    return [row[key] for row in run.report[show.kind]['mean'] for key in KEYS]


def _fold_table(runs: Sequence[Run], label: str, show: _Show) -> Table:
    """Return the folds of a configuration in the layout of Table 2."""
    is_papers = (runs[0].method, runs[0].protocol) == paper_tables.TABLE_2_PROTOCOL
    paper = paper_tables.TABLE_2_FOLDS if is_papers else {}
    numbers = [_fold_place(run)[0] for run in runs]
    if len(paper_tables.TABLE_2_FOLDS) in numbers:  # batches that the paper doesn't have
        numbers = range(len(runs))
    rows = []
    for number, run in zip(numbers, runs, strict=True):
        rows += show.rows(
            (marked(f'Fold {number + 1}', [run]), run.fold), _values(run, show), paper.get(run.fold), [run]
        )
    averages, deviations = average_and_deviation(list(zip(*(_values(run, show) for run in runs), strict=True)))
    rows += show.rows((marked('Average', runs), ''), averages, paper_tables.TABLE_2_AVERAGE if is_papers else None)
    rows += show.rows(
        (marked('Standard Deviation', runs), ''), deviations, paper_tables.TABLE_2_DEVIATION if is_papers else None
    )
    return Table(f'{label} {show.what}', ('Model', 'held out'), show.columns, rows)


def _configuration_table(groups: Sequence[Sequence[Run]], show: _Show) -> Table:
    """Return all configurations in the layout of Table 3; those with folds show their average."""
    rows = []
    for runs in groups:
        averages, _ = average_and_deviation(list(zip(*(_values(run, show) for run in runs), strict=True)))
        paper = paper_tables.CONFIGURATIONS.get((runs[0].method, runs[0].protocol))
        rows += show.rows((marked(label_of(runs, groups), runs),), averages, paper, runs)
    return Table(f'Configurations {show.what}', ('Model',), show.columns, rows)


def marked(label: str, runs: Sequence[Run]) -> str:
    """Return a row's label, marked if test data of a run were seen in training."""
    return f'{label} ({MARK})' if any(run.seen for run in runs) else label
