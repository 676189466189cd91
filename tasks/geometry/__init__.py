"""Manifolds, topology and embeddings."""
