"""Readers and writers of annotation files, one module a format; `outline` states the pixel convention they share."""
