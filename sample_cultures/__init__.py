"""Drawn sample cultures: wells of osteoclasts with known outlines and nuclei, for trying out and testing this project.

They are drawings. They show that a pipeline works and how methods compare on drawings; they say nothing about the
accuracy of a model on real cultures.

    batches      what differs from one batch to the next, and the presets
    fields       noise that is a function of seed and absolute position
    shapes       soft drawing primitives
    cells        one osteoclast or pre-osteoclast
    sprites       nuclei, and sprites of small cells, debris and fibres
    placement    which object stands where
    well         one well: its cells, what is visible of each, and their outlines
    optics       light, lens and camera: from stain to pixels
    writing      the files of a well
"""
