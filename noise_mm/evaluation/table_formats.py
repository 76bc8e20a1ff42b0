"""Tables such as those of the paper as Markdown, LaTeX or CSV. Pure."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from noise_mm.errors import InputError

FORMATS = ('md', 'latex', 'csv')
NOTES_TITLE = "Differences from the paper's setting"


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        labels: One text for each of the table's label columns.
        cells: One text for each other column.
        note: In what it differs from the paper's setting; empty where nobody asked.
    """

    labels: tuple[str, ...]
    cells: list[str]
    note: str = ''


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: What it shows and how it was measured.
        label_names: Headings of the label columns, two at most.
        columns: The other columns: what each shows, such as P, and at which IoU, such as 0.50, or nothing.
        rows: Its lines.
    """

    title: str
    label_names: tuple[str, ...]
    columns: list[tuple[str, str]]
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
    """Return the tables as text in one of `FORMATS`; in CSV they must have the same columns.

    Raises:
        InputError: If the format is unknown.
    """
    if file_format not in FORMATS:
        raise InputError(f'format is {file_format!r}. Choose one of {", ".join(FORMATS)}.')
    if file_format == 'csv':
        return _as_csv(tables)
    return '\n\n'.join(map(_as_markdown if file_format == 'md' else _as_latex, tables)) + '\n'


def _as_markdown(table: Table) -> str:
    names = [*table.label_names, *(f'{name} {thr}'.strip() for name, thr in table.columns)]
    rule = ['---'] * len(table.label_names) + ['--:'] * len(table.columns)
    lines = [names, rule, *([*row.labels, *row.cells] for row in table.rows)]
    text = [f'**{table.title}**', '', *('| ' + ' | '.join(line) + ' |' for line in lines)]
    if table.notes:
        text += ['', f'{NOTES_TITLE}:', '', *(f'- {note}' for note in table.notes)]
    return '\n'.join(text)


def _as_latex(table: Table) -> str:
    groups = [(thr, len(list(columns))) for thr, columns in groupby(table.columns, key=lambda column: column[1])]
    above = ['IoU $t$', *[''] * (len(table.label_names) - 1)]
    above += [rf'\multicolumn{{{size}}}{{c}}{{{thr}}}' for thr, size in groups]
    names = [*table.label_names, *(_latex_text(name) for name, _ in table.columns)]
    lines = [[*map(_latex_text, row.labels), *row.cells] for row in table.rows]
    head = [above, names] if any(thr for thr, _ in groups) else [names]
    return '\n'.join(
        [
            f'% {table.title}',
            rf'\begin{{tabular}}{{{"l" * len(table.label_names)}{"c" * len(table.columns)}}}',
            r'\hline',
            *(rf'{" & ".join(line)} \\' for line in head),
            r'\hline',
            *(rf'{" & ".join(line)} \\' for line in lines),
            r'\hline',
            r'\end{tabular}',
            *(f'% {NOTES_TITLE}: {note}' for note in table.notes),
        ]
    )


def _latex_text(text: str) -> str:
    escaped = re.sub(r'([&%$#_{}])', r'\\\1', text.replace('\\', r'\textbackslash '))
    return escaped.replace('→', r'$\rightarrow$')


def _as_csv(tables: Sequence[Table]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    columns = ['_'.join(filter(None, column)) for column in tables[0].columns]
    note_column = ['differs_from_paper'] if any(table.notes for table in tables) else []
    writer.writerow(['table', 'row', 'held_out', *columns, *note_column])
    for table in tables:
        for row in table.rows:
            first, *rest = row.labels
            writer.writerow([table.title, first, *(rest or ['']), *row.cells, *([row.note] if note_column else [])])
    return text.getvalue()
