"""Physical systems, measured and simulated."""
