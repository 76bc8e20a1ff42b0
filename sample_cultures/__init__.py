"""Drawn sample cultures: wells of osteoclasts with known outlines and nuclei, for trying out and testing this project.

They are synthetic. They show that a pipeline works and how methods compare on synthetic images; they say nothing about
the accuracy of a model on real cultures.

    batches      what differs from one batch to the next, and the presets
    fields       noise that is a function of seed and absolute position
    shapes       soft drawing primitives
    bodies       the shape of a large cell
    cytoplasm    its stain
    cells        one osteoclast or pre-osteoclast
    sprites       nuclei, and sprites of small cells, debris and fibres
    placement    which object stands where
    well         one well: its cells, what is visible of each, and their outlines
    optics       light, lens and camera: from stain to pixels
    writing      the files of a well
    statistics   areas, nuclei and densities of cultures beside those of a real image
"""

import hashlib
from pathlib import Path


def generator_hash() -> str:
    """Return the SHA-256 of this package's source files: the same hash, seed and options draw the same cultures.

    Line ends don't count, so a checkout on Windows has the same hash.
    """
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob('*.py')):
        digest.update(path.name.encode() + b'\0' + path.read_bytes().replace(b'\r\n', b'\n') + b'\0')
    return digest.hexdigest()
