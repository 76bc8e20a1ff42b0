"""The paper's tables as Markdown, LaTeX or CSV. Pure."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

from noise_mm.errors import InputError

FORMATS = ('md', 'latex', 'csv')
METRICS = ('P', 'R', 'mAP')
NOTES_TITLE = "Differences from the paper's setting"


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        labels: One text for each of the table's label columns.
        cells: P, R and mAP of each threshold in turn, as printed.
        note: In what it differs from the paper's setting; empty where nobody asked.
    """

    labels: tuple[str, ...]
    cells: list[str]
    note: str = ''


@dataclass(frozen=True)
class Table:
    """A table like those of the paper.

    Attributes:
        title: What it shows and how it was measured.
        label_names: Headings of the label columns.
        iou_thrs: Thresholds.
        rows: Its lines.
    """

    title: str
    label_names: tuple[str, ...]
    iou_thrs: tuple[float, ...]
    rows: list[Row]

    @property
    def notes(self) -> list[str]:
        """The notes below the table, 'row, row: text', one for rows of equal text."""
        rows: dict[str, list[str]] = {}
        for row in self.rows:
            if row.note:
                rows.setdefault(row.note, []).append(' '.join(filter(None, row.labels)))
        return [f'{", ".join(labels)}: {note}' for note, labels in rows.items()]


def render(tables: Sequence[Table], file_format: str) -> str:
    """The tables as text in one of `FORMATS`.

    Raises:
        InputError: If the format is unknown.
    """
    if file_format not in FORMATS:
        raise InputError(f'format is {file_format!r}. Choose one of {", ".join(FORMATS)}.')
    if file_format == 'csv':
        return _as_csv(tables)
    return '\n\n'.join(map(_as_markdown if file_format == 'md' else _as_latex, tables)) + '\n'


def _as_markdown(table: Table) -> str:
    names = [*table.label_names, *(f'{name} {thr:.2f}' for thr in table.iou_thrs for name in METRICS)]
    rule = ['---'] * len(table.label_names) + ['--:'] * (len(names) - len(table.label_names))
    lines = [names, rule, *([*row.labels, *row.cells] for row in table.rows)]
    text = [f'**{table.title}**', '', *('| ' + ' | '.join(line) + ' |' for line in lines)]
    if table.notes:
        text += ['', f'{NOTES_TITLE}:', '', *(f'- {note}' for note in table.notes)]
    return '\n'.join(text)


def _as_latex(table: Table) -> str:
    n_labels, n_thrs = len(table.label_names), len(table.iou_thrs)
    above = ' & '.join(
        ['IoU $t$', *[''] * (n_labels - 1), *(rf'\multicolumn{{3}}{{c}}{{{t:.2f}}}' for t in table.iou_thrs)]
    )
    names = ' & '.join([*table.label_names, *METRICS * n_thrs])
    lines = [' & '.join([*map(_latex_text, row.labels), *row.cells]) for row in table.rows]
    return '\n'.join(
        [
            f'% {table.title}',
            rf'\begin{{tabular}}{{{"l" * n_labels}{"ccc" * n_thrs}}}',
            r'\hline',
            *(rf'{line} \\' for line in (above, names)),
            r'\hline',
            *(rf'{line} \\' for line in lines),
            r'\hline',
            r'\end{tabular}',
            *(f'% {NOTES_TITLE}: {note}' for note in table.notes),
        ]
    )


def _latex_text(text: str) -> str:
    escaped = re.sub(r'([&%$#_{}])', r'\\\1', text.replace('\\', r'\textbackslash '))
    return escaped.replace('→', r'$\rightarrow$')


def _as_csv(tables: Sequence[Table]) -> str:
    """All tables below each other; their columns are the same."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    columns = [f'{name}_{thr:.2f}' for thr in tables[0].iou_thrs for name in METRICS]
    with_notes = any(table.notes for table in tables)
    note_column = ['differs_from_paper'] if with_notes else []
    writer.writerow(['table', 'row', 'held_out', *columns, *note_column])
    for table in tables:
        for row in table.rows:
            first, *rest = row.labels
            writer.writerow([table.title, first, *(rest or ['']), *row.cells, *([row.note] if with_notes else [])])
    return text.getvalue()
