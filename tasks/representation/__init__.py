"""Representations: contrastive, disentangled, collapsed."""
