"""Tile detections -> each cell once."""
