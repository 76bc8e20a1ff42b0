from noise_mm.coco.issues import Issue, Kind, errors_of, limited, listing

BAD = Kind('bad thing', 'Mend it.')
ODD = Kind('odd thing', 'Look at it.', is_note=True)
FOUND = [Issue(ODD, 'a.json, image 1', 'looks odd'), *(Issue(BAD, f'b.json, image {i}', f'is {i}') for i in range(5))]


def test_listing_puts_errors_first_and_says_how_many_more_there_are():
    assert listing(FOUND, limit=2) == [
        'issue: bad thing (5). Mend it.',
        '  b.json, image 0: is 0',
        '  b.json, image 1: is 1',
        '  ... and 3 more',
        'note: odd thing (1). Look at it.',
        '  a.json, image 1: looks odd',
    ]


def test_nothing_to_list():
    assert listing([], limit=2) == []


def test_limit_that_is_just_reached():
    assert limited(['a', 'b'], 2) == ['  a', '  b']


def test_notes_are_no_errors():
    assert errors_of(FOUND) == FOUND[1:]
