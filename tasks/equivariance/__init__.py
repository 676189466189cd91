"""Symmetries: groups, frames, invariance and what it buys."""
