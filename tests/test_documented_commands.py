"""Every command in README, docs and the tools' own help is one that its tool takes. Nothing is run."""

import argparse
import importlib
import importlib.util
import re
import shlex
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(path for folder in ('', 'docs', 'data_prep', 'weights') for path in (ROOT / folder).glob('*.md'))
PAGES.remove(ROOT / 'CHANGELOG.md')  # which names what is gone, too
PROGRAMS = [path for folder in ('tools', 'data_prep', 'benchmarks') for path in sorted((ROOT / folder).glob('*.py'))]
# Configs and scripts that the reader writes.
OWN_FILES = {'configs/noise/plate7.py', 'configs/noise/my_domain.py'}
# Whose arguments are those of another program, or that take none.
NOT_PARSED = {'tools/run_tests.py', 'tools/environment.py'}
SCRIPTS = {  # the Python program behind a shell script, and which of its words is for the script alone
    'tools/dist_train.sh': ('tools/train.py', 1),
    'tools/dist_test.sh': ('tools/test.py', 2),
    'tools/dist_predict.sh': ('tools/predict.py', 2),
    'tools/slurm_train.sh': ('tools/train.py', None),
}
COMMAND = re.compile(
    r'^(?:[A-Z_]+=\S+ +)*(?:(?:\S*/)?(?:python3?|py) +)?(?:-m +)?'
    r'(?P<program>(?:tools|data_prep|benchmarks)/\w+\.(?:py|sh)|(?:sample_cultures|tests)\.[\w.]+)(?P<words>(?:\s.*)?)$'
)


class ParsedError(Exception):
    """The arguments were taken."""


def commands_of(text: str, is_code: bool) -> list[tuple[str, str]]:
    """Return program and arguments of each command: of blocks of code, and between backticks in prose."""
    text = text.replace('\\\\\n', '\\\n') if is_code else text  # as it stands in a string of Python
    lines = [re.sub(r'\s*\\\n\s*', ' ', block) for block in re.findall(r'^ {2,}((?:.*\\\n)*.*)$', text, re.M)]
    if not is_code:
        lines += [' '.join(span.split()) for span in re.findall(r'`([^`]+)`', text)]
    found = []
    for line in lines:
        line = line.replace('.venv\\Scripts\\python tools\\', '.venv/bin/python tools/').strip()
        for part in re.split(r'; |&& ', line):
            if match := COMMAND.match(part.strip()):
                found.append((match['program'], match['words']))
    return found


COMMANDS = sorted(
    {
        (path.relative_to(ROOT).as_posix(), *command)
        for path in [*PAGES, *PROGRAMS]
        for command in commands_of(path.read_text(encoding='utf-8'), path.suffix == '.py')
    }
)


def load(program: str):
    """Return the module of a program."""
    if program.endswith('.py'):
        spec = importlib.util.spec_from_file_location(Path(program).stem, ROOT / program)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    return importlib.import_module(program)


@pytest.fixture
def parse(monkeypatch):
    """A function that lets a program parse its arguments and stops it then."""
    for folder in ('tools', 'benchmarks'):
        monkeypatch.syspath_prepend(str(ROOT / folder))
    for name in ('parse_args', 'parse_intermixed_args'):
        original = getattr(argparse.ArgumentParser, name)

        def stop(parser, *args, original=original):
            result = original(parser, *args)
            if args and args[0] is not None:  # an inner parser, or parse_intermixed_args calling parse_args
                return result
            raise ParsedError

        monkeypatch.setattr(argparse.ArgumentParser, name, stop)

    def run(program, words):
        monkeypatch.setattr(sys, 'argv', [program, *words])
        load(program).main()

    return run


@pytest.mark.parametrize(('page', 'program', 'text'), COMMANDS, ids=lambda value: value.strip()[:60] or 'alone')
def test_command_is_valid(parse, page, program, text, capsys):
    words = shlex.split(text, comments=True)
    if program in SCRIPTS:
        assert (ROOT / program).is_file()
        program, own = SCRIPTS[program]
        words = [word for place, word in enumerate(words) if place != own] if own else words
    if '.' in program and not program.endswith('.py'):
        assert importlib.util.find_spec(program), program
    else:
        assert (ROOT / program).is_file(), program
    for word in words:
        if re.match(r'(configs|docs|data_prep)/[\w./-]+\.(py|md)$', word) and word not in OWN_FILES:
            assert (ROOT / word).is_file(), f'{word} does not exist'
    # A bare name in prose, or a command that is cut short, names the program only.
    if program in NOT_PARSED or not words or '...' in words:
        return
    with pytest.raises(ParsedError):
        try:
            parse(program, words)
        except SystemExit as stop:
            error = capsys.readouterr().err
            only_named = all(word.startswith('--') for word in words) and 'unrecognized' not in error
            if stop.code == 0 or only_named:  # --help, or an option named in prose
                raise ParsedError from stop
            pytest.fail(error)


def test_commands_are_found():
    """The search itself: most pages have commands, and each kind of place is seen."""
    found = {(page, program) for page, program, _ in COMMANDS}
    assert len(COMMANDS) > 100
    assert ('README.md', 'tools/quickstart.py') in found and ('README.md', 'tools/train.py') in found
    assert ('tools/predict.py', 'tools/predict.py') in found and (
        'docs/sample_cultures.md',
        'sample_cultures.statistics',
    ) in found


@pytest.mark.parametrize('page', PAGES, ids=lambda path: path.name)
def test_links_lead_to_files(page):
    for target in re.findall(r'\]\(([^)#]+)[^)]*\)', page.read_text(encoding='utf-8')):
        if '://' not in target:
            assert (page.parent / target).exists(), f'{page.name}: {target}'
