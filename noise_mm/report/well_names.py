"""Reads plate, well and field of an image from its name. Pure.

Instruments write names such as `A1_01_1_1_Bright Field_001`, `WellA01`, `A01_s1`, `B2_stitched`, `A - 1(fld 1)`,
`r03c05f01p01-ch1` or `scan_A01f00d4`; folders such as `B/3` become `B_3`. A position is a letter from A to P and a
number from 1 to 24 that stand for themselves; where some name has a row AA to AF, it may go up to `AF48`. What stands
around it and differs between images of one well is its field, if it looks like one: a plain number, or a number behind
s, f, fld, field, site, xy, pos, tile, img or region. What else differs (a day, a channel, a plane) may be no field:
such images stay apart, and a note says so.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from noise_mm.errors import InputError

FIELD_BEHIND = r'[sf]\d|fld\d'


def _position_pattern(rows: str, columns: str) -> re.Pattern[str]:
    """Return the expression for the positions of a plate, of those for its rows and columns."""
    return re.compile(
        rf"""
          (?<![A-Za-z0-9])r(?P<row_number>0?[1-9]|[12]\d|3[0-2])c(?P<c>{columns})(?=f\d|[^A-Za-z0-9]|$)
        | (?:(?<![A-Za-z0-9])|(?<=well)|(?<=Well)|(?<=WELL))
          (?P<row>{rows})(?:[ ]-[ ])?(?P<column>{columns})(?={FIELD_BEHIND}|[^A-Za-z0-9]|$)
        | (?<![A-Za-z0-9])(?P<folder>[A-P])_(?P<in_folder>{columns})(?=$|_(?:{FIELD_BEHIND}|field|site))
        """,
        re.VERBOSE,
    )


TO_24 = r'0?[1-9]|1\d|2[0-4]'
POSITION = _position_pattern('[A-Pa-p]', TO_24)
POSITION_OF_1536 = _position_pattern('A[A-F]|[A-Z]', rf'{TO_24}|2[5-9]|3\d|4[0-8]')
ONLY_ON_1536 = re.compile(r'(?:(?<![A-Za-z0-9])|(?<=well)|(?<=Well))A[A-F](?:0?[1-9]|[1-3]\d|4[0-8])(?![A-Za-z0-9])')
"""Rows AA to AF. Without any of them Q1 or X20 is rather something else, a quarter or a magnification."""

TOKEN = re.compile(r'[A-Za-z]+|\d+')
SCENE = re.compile(r'(?<![A-Za-z])(scene|field|site|tile|region)[ _-](\d+)(?![A-Za-z0-9])', re.IGNORECASE)
"""A field in front of the position whose number stands apart."""
FIELD_WORDS = {'s', 'f', 'fld', 'field', 'site', 'xy', 'pos', 'position', 'tile', 'img', 'image', 'region', 'scene', ''}
EDGES = ' _-.([{)]}'
MOST_NAMED = 4


def row_name(row: int) -> str:
    """Return the letters of a row, from 0 for A to 31 for AF."""
    return ('A' * (row // 26)) + chr(ord('A') + row % 26)


@dataclass(frozen=True)
class Position:
    """The place of a well on its plate.

    Attributes:
        row: From 0, for row A.
        column: From 0, for column 1.
    """

    row: int
    column: int

    def __str__(self) -> str:
        """Return it as on the plate: A1."""
        return f'{row_name(self.row)}{self.column + 1}'


@dataclass(frozen=True)
class WellName:
    """What the name of an image says.

    Attributes:
        image: The name of the image.
        well: Name of the well in the tables; the images of one well share it.
        plate: Name of the plate; often empty.
        position: Where the well lies on the plate, if the name says so.
        field: Which part of the well the image shows; empty if the well has one image.
    """

    image: str
    well: str
    plate: str = ''
    position: Position | None = None
    field: str = ''


def compile_pattern(text: str) -> re.Pattern[str]:
    """Return `--name-pattern` as a regular expression.

    Raises:
        InputError: If it is none, or has no group `well`.
    """
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise InputError(f'--name-pattern {text}: no regular expression ({error}).') from error
    if unknown := sorted(set(pattern.groupindex) - {'plate', 'well', 'field'}):
        raise InputError(f'--name-pattern: unknown group {unknown[0]}. Use well, field and plate.')
    if 'well' not in pattern.groupindex:
        raise InputError(
            f'--name-pattern {text}: has no group well. Write e.g. (?P<well>[A-H][0-9]+)_(?P<field>[0-9]+).'
        )
    return pattern


def read_names(images: Sequence[str], pattern: re.Pattern[str] | None = None) -> tuple[list[WellName], list[str]]:
    """Return what the names of images say, in the same order, and notes on what is in doubt.

    Args:
        images: Names without suffix.
        pattern: A regular expression with the group `well`, and `field` and `plate` if wanted.

    Raises:
        InputError: If a name does not match `pattern`.
    """
    if pattern is not None:
        return _share_wells([_matched(image, pattern) for image in images]), []
    is_1536 = any(map(ONLY_ON_1536.search, images))
    found = {image: _positions(image, is_1536) for image in images}
    chosen = _consistent_place(found)
    split = {image: _split(image, matches[chosen]) for image, matches in found.items() if matches}
    groups: dict[tuple[str, Position], list[str]] = defaultdict(list)
    for image, (plate, position, _) in split.items():
        groups[plate, position].append(image)
    fields, notes = {}, []
    for (plate, position), members in groups.items():
        varying = _varying({image: split[image][2] for image in members})
        if all(word.lower() in FIELD_WORDS for tokens in varying.values() for word, _ in tokens):
            fields |= {image: '_'.join(f'{word}{number}' for word, number in varying[image]) for image in members}
        else:
            some = ', '.join(members[:MOST_NAMED]) + (', ...' if len(members) > MOST_NAMED else '')
            notes.append(
                f'{plate} {position}: {some} differ by more than a field number and are kept as wells of their own; '
                '--name-pattern can say which part of the name is the field'.strip()
            )
    names = []
    for image in images:
        if image not in split:
            names.append(WellName(image, image))
            continue
        plate, position, _ = split[image]
        field = fields.get(image, '')
        well = '_'.join(filter(None, (plate, str(position)))) if field else image
        names.append(WellName(image, well, plate, position, field))
    return names, notes


def position_of(name: str, is_1536: bool = False) -> tuple[str, Position] | None:
    """Return the plate and the position that a single name states, or None.

    Args:
        name: The name.
        is_1536: Whether it is of a plate with 1536 wells; names of rows AA to AF say so themselves.
    """
    matches = _positions(name, is_1536 or bool(ONLY_ON_1536.search(name)))
    return _split(name, matches[-1])[:2] if matches else None


def _positions(name: str, is_1536: bool) -> list[re.Match[str]]:
    """Return what may be a position in a name, without what rather is a field: f01 or F01 behind another one."""
    matches = list((POSITION_OF_1536 if is_1536 else POSITION).finditer(name))
    kept = [match for match in matches if not match[0][0].islower() or match['row_number']] or matches
    return kept[:1] + [match for match in kept[1:] if not match[0].startswith('F0')]


def _matched(image: str, pattern: re.Pattern[str]) -> WellName:
    match = pattern.search(image)
    if match is None:
        raise InputError(f'--name-pattern {pattern.pattern}: does not match {image}. Correct it or move the image.')
    groups = {name: (text or '').strip(EDGES) for name, text in match.groupdict().items()}
    place = position_of(groups['well'], is_1536=True)
    return WellName(image, groups['well'], groups.get('plate', ''), place and place[1], groups.get('field', ''))


def _share_wells(names: Sequence[WellName]) -> list[WellName]:
    """Name wells by plate too where a pattern states it."""
    return [
        WellName(name.image, '_'.join(filter(None, (name.plate, name.well))), name.plate, name.position, name.field)
        for name in names
    ]


def _consistent_place(found: dict[str, list[re.Match[str]]]) -> int:
    """Return which of several positions in each name is the well: the last (-1), or the first (0) where it varies more.

    In `H1_A3` and `H1_A4` the first is a batch; in `A1_C1` and `B1_C1` the last is a channel.
    """
    several = [matches for matches in found.values() if len(matches) > 1]
    distinct = {place: len({_position(matches[place]) for matches in several}) for place in (-1, 0)}
    return 0 if distinct[0] > distinct[-1] else -1


def _position(match: re.Match[str]) -> Position:
    if match['row_number']:
        return Position(int(match['row_number']) - 1, int(match['c']) - 1)
    row = (match['row'] or match['folder']).upper()
    return Position(26 * (len(row) - 1) + ord(row[-1]) - ord('A'), int(match['column'] or match['in_folder']) - 1)


def _split(image: str, match: re.Match[str]) -> tuple[str, Position, list[tuple[str, str]]]:
    """Return the plate, the position, and the words with their numbers that stand around both."""
    before, after = image[: match.start()], image[match.end() :]
    before = re.sub(r'well$', '', before.strip(EDGES), flags=re.IGNORECASE).strip(EDGES)
    before = SCENE.sub(r'\1\2', before).removesuffix(match[0]).strip(EDGES)  # Zeiss writes the position twice
    tokens = [token for part in re.split(rf'[{re.escape(EDGES)}]+', before) if (token := _field_token(part))]
    plate = before
    for word, number in tokens:
        plate = plate.replace(f'{word}{number}', '').strip(EDGES)
    return plate, _position(match), tokens + _tokens(after)


def _field_token(part: str) -> tuple[str, str] | None:
    """Return a part of a name in front of the position that names a field, such as s01."""
    match = re.fullmatch(r'([A-Za-z]+)(\d+)', part)
    return (match[1], match[2]) if match and match[1].lower() in FIELD_WORDS else None


def _tokens(text: str) -> list[tuple[str, str]]:
    """Return words with the numbers behind them; a plain number has an empty word, a plain word an empty number."""
    tokens: list[tuple[str, str]] = []
    for part in TOKEN.finditer(text):
        is_number = part[0].isdigit()
        if is_number and tokens and tokens[-1][1] == '' and text[: part.start()].endswith((tokens[-1][0], ' ')):
            tokens[-1] = (tokens[-1][0], part[0])
        else:
            tokens.append(('', part[0]) if is_number else (part[0], ''))
    return tokens


def _varying(tokens: dict[str, list[tuple[str, str]]]) -> dict[str, list[tuple[str, str]]]:
    """Return for each image of one well the tokens that not all of them share."""
    common = set.intersection(*(set(enumerate(of_image)) for of_image in tokens.values()))
    return {image: [token for i, token in enumerate(own) if (i, token) not in common] for image, own in tokens.items()}
