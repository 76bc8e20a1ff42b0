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
    assert human.size > mouse.size and human.complexity > mouse.complexity and human.stain < mouse.stain


def test_unknown_batch():
    with pytest.raises(InputError, match=r"unknown batch 'M9'. Choose from M1, M2, M3, M4, M5, H1, H2"):
        batch_named('M9')
