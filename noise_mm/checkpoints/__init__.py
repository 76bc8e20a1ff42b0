"""Checkpoint files: reading them without running them, and conversion between Ultralytics YOLOv8 and this project."""
