"""Annotation files of other programs, one small module per format; `read` opens any of them."""
