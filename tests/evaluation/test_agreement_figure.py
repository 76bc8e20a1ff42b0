import cv2
import pytest

from noise_mm.errors import InputError
from noise_mm.evaluation.agreement_figure import draw_agreement
from noise_mm.evaluation.well_scores import WellPair, score_wells


@pytest.mark.parametrize('um_per_px', [0.5, None])
@pytest.mark.parametrize('n_wells', [1, 3])
def test_any_number_of_wells_can_be_drawn(tmp_path, n_wells, um_per_px):
    """Also without a single cell, where nothing has a scale."""
    wells = [WellPair(f'A{number}', 'M1', (40, 30), um_per_px, [], []) for number in range(n_wells)]
    report = score_wells(wells, ('osteoclast',))
    draw_agreement(tmp_path / 'a.png', report['wells'], report['agreement']['all'])
    assert cv2.imread(str(tmp_path / 'a.png')).shape == (800, 1000, 3)
    (tmp_path / 'file').write_text('')
    with pytest.raises(InputError, match='cannot write here'):
        draw_agreement(tmp_path / 'file' / 'a.png', report['wells'], report['agreement']['all'])
