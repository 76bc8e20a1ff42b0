"""Outlines -> numbers: cells, nuclei and the area of the well."""
