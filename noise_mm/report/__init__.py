"""Measured wells -> files: tables, exports for ImageJ and QuPath, overlays and the page of a folder."""
