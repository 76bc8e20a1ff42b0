import shutil
import subprocess
import sys
from pathlib import Path

import sample_cultures


def test_hash_follows_the_source_and_not_the_line_ends(tmp_path):
    copy = tmp_path / 'sample_cultures'
    shutil.copytree(Path(sample_cultures.__file__).parent, copy)
    read = [sys.executable, '-c', 'from sample_cultures import generator_hash; print(generator_hash())']

    def hash_of_copy() -> str:
        return subprocess.run(read, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip()

    shapes = copy / 'shapes.py'
    assert hash_of_copy() == sample_cultures.generator_hash()
    shapes.write_bytes(shapes.read_bytes().replace(b'\n', b'\r\n'))
    assert hash_of_copy() == sample_cultures.generator_hash()
    shapes.write_bytes(shapes.read_bytes() + b'\n')
    assert hash_of_copy() != sample_cultures.generator_hash()
