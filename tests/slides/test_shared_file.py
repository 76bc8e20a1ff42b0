import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tifffile

from noise_mm.slides.shared_file import SharedFile
from noise_mm.slides.slide import open_slide


def test_threads_read_what_they_asked_for(tmp_path):
    data = np.random.default_rng(0).bytes(100_000)
    (tmp_path / 'a').write_bytes(data)
    file = SharedFile(tmp_path / 'a')
    places = [(offset, 1000 + offset % 77) for offset in range(0, 99_000, 13)] + [(99_990, 50), (200_000, 5), (7, 0)]
    with ThreadPoolExecutor(8) as pool:
        pieces = list(pool.map(lambda place: file.read(*place), places))
    file.close()
    assert pieces == [data[offset : offset + length] for offset, length in places]
    assert file.size_bytes == len(data)


def test_tiffs_are_read_without_pread(tmp_path, monkeypatch):
    """As on Windows."""
    for name in ('pread', 'sysconf', 'fork', 'sched_getaffinity'):
        monkeypatch.delattr(os, name, raising=False)
    pixels = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    for number, options in enumerate(({}, {'tile': (16, 16), 'compression': 'zlib'})):
        tifffile.imwrite(tmp_path / f'{number}.tif', pixels, photometric='rgb', **options)
        with open_slide(tmp_path / f'{number}.tif') as slide:
            np.testing.assert_array_equal(slide.read(0, 0, 90, 70), pixels)
