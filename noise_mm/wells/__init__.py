"""Whole well images: read by windows, cut into patches for training, and tiled for prediction.

`slide.open_slide` opens any well image, `tiles` lays grids over it, `outlines` moves cells between the well and its
windows, and `extraction.extract` turns the wells of a batch into a batch folder of the dataset.
"""
