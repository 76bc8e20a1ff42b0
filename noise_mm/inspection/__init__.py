"""Looks over a dataset folder: what is wrong with it, what is in it, how it looks. Needs neither torch nor MM*."""
