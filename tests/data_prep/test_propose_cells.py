import csv
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
import tifffile

from noise_mm.formats.imagej import read_imagej
from noise_mm.formats.read import read_outlines


@pytest.fixture
def propose(repo_dir, tmp_path):
    def run(*options):
        command = [sys.executable, repo_dir / 'data_prep' / 'propose_cells.py', *map(str, options)]
        return subprocess.run([*command, '--out', tmp_path / 'out'], capture_output=True, text=True)

    return run


@pytest.fixture
def wells(tmp_path):
    """Two wells with two cells and one, at half the reference pixel size; only the first one states it."""
    (tmp_path / 'wells').mkdir()
    for name, discs, stated in (('A1', ((200, 200), (500, 300)), True), ('A2', ((300, 400),), False)):
        picture = np.full((700, 800, 3), (225, 222, 215), np.uint8)
        for centre in discs:
            cv2.circle(picture, centre, 90, (120, 70, 140), -1)
        size = {'resolution': (1e4 / 0.3892,) * 2, 'resolutionunit': 'CENTIMETER'} if stated else {}
        tifffile.imwrite(tmp_path / 'wells' / f'{name}.tif', picture, **size)
    return tmp_path / 'wells'


def test_regions_are_written_for_imagej_and_qupath_in_pixels_of_the_well(propose, wells, tmp_path):
    done = propose(wells, '--mpp', 0.3892)
    assert done.returncode == 0, done.stderr
    out = tmp_path / 'out'
    for name, count in (('A1', 2), ('A2', 1)):
        from_imagej, from_qupath = read_imagej(out / f'{name}_RoiSet.zip'), read_outlines(out / f'{name}.geojson')
        assert len(from_imagej) == len(from_qupath) == count
        assert all(abs(each.geometry.area / (np.pi * 90**2) - 1) < 0.05 for each in [*from_imagej, *from_qupath])
    rows = list(csv.DictReader((out / 'proposals.csv').open()))
    assert [row['well'] for row in rows] == ['A1', 'A1', 'A2']
    assert float(rows[0]['area_um2']) == pytest.approx(float(rows[0]['area_px2']) * 0.3892**2, rel=1e-3)
    record = json.loads((out / 'proposals.json').read_text())
    assert record['wells'] == {'A1': 2, 'A2': 1} and record['threshold_from'] == 'chosen'
    assert cv2.imread(str(out / 'contact_sheet.png')) is not None
    assert '3 regions proposed' in done.stdout


def test_an_assumed_pixel_size_is_named_and_gives_no_um2(propose, wells, tmp_path):
    done = propose(wells)
    assert 'A2: no pixel size stated' in done.stdout
    rows = list(csv.DictReader((tmp_path / 'out' / 'proposals.csv').open()))
    assert [bool(row['area_um2']) for row in rows] == [True, True, False]


@pytest.mark.parametrize('option', [('--mpp', '0'), ('--threshold', '-3'), ('--neck', '1'), ('--min-area', '0')])
def test_impossible_options_end_in_one_line(propose, wells, tmp_path, option):
    done = propose(wells, *option)
    assert done.returncode == 2 and done.stderr.startswith(f'error: {option[0]}') and done.stderr.count('\n') == 1
    assert not (tmp_path / 'out' / 'proposals.json').exists()


def test_wells_of_one_name_in_folders_and_files_of_several_images(propose, wells, tmp_path):
    """`B/03.tif` and `C/03.tif` had one set of proposals, that of the last one."""
    with tifffile.TiffWriter(wells / 'both.tif') as both:
        for number, row in ((1, 'B'), (2, 'C')):
            (wells / row).mkdir()
            pixels = tifffile.imread(wells / f'A{number}.tif')
            both.write(np.pad(pixels, ((0, number), (0, 0), (0, 0)), mode='edge'), photometric='rgb', metadata=None)
            (wells / f'A{number}.tif').rename(wells / row / '03.tif')
    refused = propose(wells / 'both.tif', '--mpp', 0.3892)
    assert refused.returncode == 2 and '--scene 1 to 2' in refused.stderr
    assert propose(wells / 'both.tif', '--mpp', 0.3892, '--scene', 2).returncode == 0
    assert len(read_imagej(tmp_path / 'out' / 'both_RoiSet.zip')) == 1
    (wells / 'both.tif').unlink()
    done = propose(wells, '--mpp', 0.3892)
    assert done.returncode == 0, done.stderr
    for name, count in (('B_03', 2), ('C_03', 1)):
        assert len(read_imagej(tmp_path / 'out' / f'{name}_RoiSet.zip')) == count
