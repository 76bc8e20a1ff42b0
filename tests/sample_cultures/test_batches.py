import pytest

from noise_mm.errors import InputError
from sample_cultures.batches import BATCHES, PRESETS, batch_named


def test_presets_name_known_batches():
    for preset in PRESETS.values():
        assert set(preset.wells) <= set(BATCHES)


def test_study_is_as_large_as_the_publication_needs():
    study = PRESETS['study']
    assert study.size_px == 4000
    assert all(study.wells[f'M{number}'] >= 6 for number in range(1, 6))
    assert study.wells['H1'] >= 4 and study.wells['H2'] >= 4


def test_human_batches_have_bone_and_larger_more_complex_cells():
    for batch in BATCHES.values():
        assert (batch.bone is not None) == (batch.family == 'human')
    human, mouse = BATCHES['H1'], BATCHES['M1']
    assert human.size > mouse.size and human.complexity > mouse.complexity


def test_domain_shift_scales_what_tells_human_from_mouse():
    mouse, human = batch_named('M1'), batch_named('H1')
    near, half, far = (batch_named('H1', shift) for shift in (0, 0.5, 2))
    assert near.red_rgb == mouse.red_rgb and near.size == mouse.size and near.bone.density_rgb == (0, 0, 0)
    assert near.large_per_mm2 == human.large_per_mm2  # numbers of cells are no matter of appearance
    assert mouse.size < half.size < human.size < far.size
    assert half.bone.pits_per_mm2 == pytest.approx(human.bone.pits_per_mm2 / 2)
    assert far.core == pytest.approx(max(2 * human.core - mouse.core, 0))
    for batch in (near, half, far):
        assert sum(batch.small_mix) == pytest.approx(1) and min(batch.small_mix) >= 0
    assert batch_named('M2', 2) == BATCHES['M2']


@pytest.mark.parametrize('shift', [-0.1, 2.1])
def test_domain_shift_out_of_range(shift):
    with pytest.raises(InputError, match='--domain-shift must be between 0 and 2'):
        batch_named('H1', shift)


def test_unknown_batch():
    with pytest.raises(InputError, match=r"unknown batch 'M9'. Choose from M1, M2, M3, M4, M5, H1, H2"):
        batch_named('M9')
