import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from noise_mm.errors import InputError
from noise_mm.formats.imagej import read_imagej
from noise_mm.geometry.pixels import fill_pixels
from noise_mm.slides.slide import open_slide
from sample_cultures import writing
from sample_cultures.batches import BATCHES
from sample_cultures.optics import Microscope
from sample_cultures.well import Well
from sample_cultures.writing import WellTask, is_finished, write_well
from tests.fixtures.files import read_via_points

SIZE_PX = 600


def task(out: Path, batch: str = 'M1', **changes) -> WellTask:
    settings = {'seed': 2, 'size_px': SIZE_PX, 'crowding': 1.0, 'with_nuclei': True, **changes}
    return WellTask(out=out, batch=batch, well=f'{batch}_w01', **settings)


@pytest.fixture(scope='module', params=['M1', 'H1'])
def written(request, tmp_path_factory) -> tuple[WellTask, writing.WellCounts, dict]:
    here = task(tmp_path_factory.mktemp('cultures'), request.param)
    counts = write_well(here)
    return here, counts, json.loads(here.path('truth', '.json').read_text())


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def test_rois_labels_and_truth_agree(written):
    here, counts, truth = written
    outlines = read_imagej(here.path('rois', '.zip'))
    labels = tifffile.imread(here.path('labels', '.tif'))
    cells = [cell for cell in truth['cells'] if cell['kind'] == 'osteoclast']
    assert labels.shape == (SIZE_PX, SIZE_PX) and labels.dtype == np.uint16
    assert len(outlines) == len(cells) == labels.max() == counts.osteoclasts > 3
    for number, (outline, cell) in enumerate(zip(outlines, cells, strict=True), 1):
        assert cell['index'] == number and outline.name == f'OC{number:04d}'
        filled = fill_pixels(outline.geometry, 0, 0, SIZE_PX, SIZE_PX)
        mask = labels == number
        assert (filled & mask).sum() / (filled | mask).sum() >= 0.98
        assert cell['area_px'] == pytest.approx(mask.sum(), rel=0.03)
        assert cell['area_um2'] == pytest.approx(cell['area_px'] * 0.7784**2, abs=0.1)


def test_nuclei_points_name_their_cells(written):
    here, counts, truth = written
    labels = tifffile.imread(here.path('labels', '.tif'))
    picture = here.path('wells', '.tif')
    points = read_via_points(here.path('nuclei', '.csv'))[picture.name]
    assert f'{picture.name},{picture.stat().st_size},' in here.path('nuclei', '.csv').read_text()
    large = [cell for cell in truth['cells'] if cell['kind'] in ('osteoclast', 'pre-osteoclast')]
    assert len(points) == counts.nuclei == sum(cell['nuclei'] for cell in large)
    for point in points:
        label = labels[int(point.y), int(point.x)]
        assert point.attributes['structure'] == 'nucleus'
        if point.attributes['cell_type'] == 'osteoclast':
            assert point.attributes['cell'] == f'OC{label:04d}'
        else:
            assert point.attributes['cell'] == '' and label == 0


def test_truth_names_every_cell(written):
    here, counts, truth = written
    kinds = [cell['kind'] for cell in truth['cells']]
    assert truth['seed'] == 2 and truth['batch'] == here.batch and truth['um_per_px'] == 0.7784
    assert kinds.count('pre-osteoclast') == counts.pre_osteoclasts
    assert {'monocyte', 'pale monocyte', 'stellate', 'spindle'} <= set(kinds)
    for cell in truth['cells']:
        assert 0 <= cell['x_px'] <= SIZE_PX and 0 <= cell['y_px'] <= SIZE_PX and cell['area_px'] > 0
        if cell['kind'] == 'osteoclast':
            assert cell['nuclei'] >= 3


def test_picture_is_what_the_microscope_sees_in_a_plain_tiff_with_its_resolution(written):
    here, _, _ = written
    well = Well(BATCHES[here.batch], here.well, 2, SIZE_PX, SIZE_PX)
    with tifffile.TiffFile(here.path('wells', '.tif')) as file:
        page = file.pages[0]
        np.testing.assert_array_equal(page.asarray()[50:90, 30:200], Microscope(well).window(30, 50, 170, 40))
        assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        assert page.predictor == 1  # ImageJ misreads predicted RGB
        assert not page.is_tiled  # ImageJ opens no tiles
    with open_slide(here.path('wells', '.tif')) as slide:
        assert slide.mpp == pytest.approx(0.7784, rel=1e-5)


def test_large_wells_are_tiled_and_hold_the_same_pixels(tmp_path, monkeypatch):
    well = Well(BATCHES['M1'], 'M1_w01', 0, 700, 530)
    writing.write_picture(tmp_path / 'strips.tif', well)
    monkeypatch.setattr(writing, '_LARGEST_STRIPED_PX', 600)
    rows: list[tuple[int, int]] = []
    writing.write_picture(tmp_path / 'tiles.tif', well, lambda done, of: rows.append((done, of)))
    assert rows == [(512, 530), (530, 530)]
    with tifffile.TiffFile(tmp_path / 'tiles.tif') as file:
        assert file.pages[0].is_tiled and file.pages[0].predictor == 1
    tiles, strips = (tifffile.imread(tmp_path / name) for name in ('tiles.tif', 'strips.tif'))
    np.testing.assert_array_equal(tiles, strips)


def test_the_same_seed_gives_the_same_bytes_also_after_a_killed_run(tmp_path):
    once, again = task(tmp_path / 'once'), task(tmp_path / 'again')
    write_well(once)
    leftover = again.path('wells', '.tif').with_name(f'.{again.well}-abc.tif')
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b'half')
    write_well(again)
    assert files(tmp_path / 'once') == files(tmp_path / 'again')


def test_nuclei_points_can_be_left_out(tmp_path):
    write_well(task(tmp_path, with_nuclei=False))
    assert sorted(folder.name for folder in (tmp_path / 'M1').iterdir()) == ['labels', 'rois', 'truth', 'wells']


def test_a_well_is_finished_once_its_truth_is_written(written, tmp_path):
    here, _, _ = written
    assert is_finished(here)
    assert not is_finished(task(tmp_path))


def test_a_well_drawn_with_other_settings_is_refused(written):
    here, _, _ = written
    with pytest.raises(InputError, match=r'drawn with seed 2 and not 3\. Choose another output folder'):
        is_finished(task(here.out, here.batch, seed=3))


def test_damaged_and_unreadable_truth(tmp_path):
    here = task(tmp_path)
    truth = here.path('truth', '.json')
    truth.parent.mkdir(parents=True)
    truth.write_text('{"seed": 2, "si')
    with pytest.raises(InputError, match=r'M1_w01.json: damaged .* Delete it'):
        is_finished(here)
    truth.unlink()
    truth.mkdir()
    with pytest.raises(InputError, match=r'M1_w01.json: cannot be read'):
        is_finished(here)
