"""Attacks, shifts and certificates."""
