"""Whole well images: opened by content, read by windows, resampled."""
