"""Losses and surrogate objectives."""
