"""Scores, and the tables made of them.

Scoring files and making tables needs no torch, so the command lines for that start fast.
"""
