import pytest

from noise_mm.report.fields import well_rows
from noise_mm.report.well_names import read_names


def rows_of(record, fields, **common):
    images = [f'A1_s{number}' for number in range(1, len(fields) + 1)]
    rows = [record(image, **{**common, **field})['row'] for image, field in zip(images, fields, strict=True)]
    return well_rows(rows, read_names(images)[0])


def test_shares_and_means_follow_from_sums(record):
    fields = [dict(count=2, nuclei=10, nuclei_in_osteoclasts=6), dict(count=6, nuclei=10, nuclei_in_osteoclasts=9)]
    (well,) = rows_of(record, fields)
    assert (well['well'], well['count'], well['fields'], well['total_area_um2']) == ('A1', 8, 2, 4800)
    assert well['mean_area_um2'] == 600
    assert well['covered_of_image_percent'] == pytest.approx(100 * 8000 / 4e6)
    assert (well['nuclei_per_osteoclast'], well['fusion_index']) == (1.875, 0.75)
    assert (well['um_per_px'], well['um_per_px_from']) == (0.7784, 'file')


def test_what_one_field_lacks_the_well_lacks(record):
    (well,) = rows_of(record, [dict(count=2, nuclei=10, nuclei_in_osteoclasts=6), dict(count=6)])
    assert (well['count'], well['nuclei'], well['fusion_index']) == (8, None, None)
    (well,) = rows_of(record, [dict(um_per_px=0.5), dict(um_per_px=0.7)])
    assert well['um_per_px'] is None


@pytest.mark.parametrize(('source', 'area'), [('given', 1000), ('disc', 2000)])
def test_a_given_area_of_the_well_counts_once(record, source, area):
    (well,) = rows_of(record, [{}, {}], well_area_px2=1000, well_area_mm2=0.001, well_area_from=source)
    assert well['well_area_px2'] == area
    assert well['covered_of_well_percent'] == pytest.approx(100 * 20_000 / area)


def test_a_well_of_one_image_keeps_its_row(record):
    rows = [record('A1')['row']]
    (well,) = well_rows(rows, read_names(['A1'])[0])
    assert well == rows[0] | {'position': 'A1'}
