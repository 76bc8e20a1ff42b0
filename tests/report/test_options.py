import pytest

from noise_mm.report.options import WellOptions


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(min_nuclei=0), 'min_nuclei must be at least 1'),
        (dict(well_area_px2=0.0), 'well_area_px2 must be positive'),
        (dict(well_area_px2=float('nan')), 'well_area_px2 must be positive'),
        (dict(well_area_px2=9.0, find_well=True), 'either given or found'),
    ],
)
def test_values_that_cannot_be_meant_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        WellOptions(**options)
