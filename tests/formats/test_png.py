import io
import subprocess
import sys

import imagecodecs
import numpy as np
from PIL import Image

from noise_mm.formats.png import without_metadata


def png(**options) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, 'png', **options)
    return file.getvalue()


def test_pixels_stay_and_the_profile_goes():
    data = png(icc_profile=b'no profile', dpi=(300, 300), transparency=(1, 2, 3))
    stripped = without_metadata(data)
    assert b'iCCP' in data and b'iCCP' not in stripped and b'pHYs' not in stripped and b'tRNS' in stripped
    assert np.array_equal(imagecodecs.png_decode(stripped), imagecodecs.png_decode(data))


def test_what_is_damaged_is_left_to_the_decoder():
    data = png(icc_profile=b'no profile')
    for broken in (b'', b'no png', data[:9], data[:40], data[:-20]):
        assert len(without_metadata(broken)) <= len(broken)
    assert without_metadata(b'no png') == b'no png'


def test_odd_images_are_read_in_silence(tmp_path, repo_dir):
    (tmp_path / 'well.png').write_bytes(png(icc_profile=b'no profile'))
    code = (
        'import sys\nfrom noise_mm.slides.slide import open_slide\n'
        'from noise_mm.datasets.patch_images import read_patch\n'
        'with open_slide(sys.argv[1]) as slide: slide.read(0, 0, 9, 9)\n'
        'read_patch(sys.argv[1])'
    )
    ran = subprocess.run([sys.executable, '-c', code, tmp_path / 'well.png'], cwd=repo_dir, capture_output=True)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b'', b'')
