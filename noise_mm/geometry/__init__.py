"""Outlines, rings, pixels, run lengths and tiles. Pure: no files, no framework."""
