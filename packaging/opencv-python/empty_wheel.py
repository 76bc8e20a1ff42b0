"""Build backend (PEP 517) for one wheel that holds metadata and no files; pyproject.toml beside it says what for.

setuptools would do it too, but is downloaded anew for each build and leaves build folders in the source tree.
"""

import zipfile
from pathlib import Path

NAME, VERSION, TAG = 'opencv_python', '5.0.0+headless', 'py3-none-any'
METADATA = f"""\
Metadata-Version: 2.1
Name: opencv-python
Version: {VERSION}
Summary: Empty stand-in that satisfies requirements for opencv-python with opencv-python-headless
License: GPL-3.0-or-later
Requires-Dist: opencv-python-headless>=4.8
"""
WHEEL = f"""\
Wheel-Version: 1.0
Generator: noise_mm
Root-Is-Purelib: true
Tag: {TAG}
"""


def build_wheel(wheel_directory: str, config_settings: object = None, metadata_directory: str | None = None) -> str:
    """Writes the wheel into `wheel_directory` and returns its file name, as pip asks of a backend."""
    folder, file_name = f'{NAME}-{VERSION}.dist-info', f'{NAME}-{VERSION}-{TAG}.whl'
    # RECORD lists every file. Its hashes may stay empty: installers check those that are given.
    record = ''.join(f'{folder}/{name},,\n' for name in ('METADATA', 'WHEEL', 'RECORD'))
    with zipfile.ZipFile(Path(wheel_directory, file_name), 'w') as wheel:
        wheel.writestr(f'{folder}/METADATA', METADATA)
        wheel.writestr(f'{folder}/WHEEL', WHEEL)
        wheel.writestr(f'{folder}/RECORD', record)
    return file_name
