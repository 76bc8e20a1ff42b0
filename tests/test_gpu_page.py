"""The page of first commands on a GPU machine, which nobody here can run."""

import re
import shlex


def test_commands_name_files_and_options_that_exist(repo_dir):
    blocks = re.findall(r'^    ((?:.*\\\n)*.*)', (repo_dir / 'docs' / 'gpu.md').read_text(), re.MULTILINE)
    common = (repo_dir / 'noise_mm' / 'command_line.py').read_text()
    of_script = {'dist_train.sh': 'train.py', 'dist_test.sh': 'test.py', 'dist_predict.sh': 'predict.py'}
    checked = 0
    for block in blocks:
        words = shlex.split(block.replace('\\\n', ' '))
        scripts = [word for word in words if word.startswith(('tools/', 'benchmarks/'))]
        for script in scripts:
            assert (repo_dir / script).is_file(), block
            name = script.rpartition('/')[2].replace('slurm_train.sh', 'train.py')
            source = (repo_dir / script).parent / of_script.get(name, name)
            known = source.read_text() + common
            for option in [word for word in words[words.index(script) :] if word.startswith('--')]:
                assert f"'{option}'" in known, f'{option}: {block}'
            checked += 1
        for word in words:
            if word.startswith('configs/') or 'CONFIG=' in word:
                assert (repo_dir / word.removeprefix('CONFIG=')).is_file(), word
    assert checked > 12
