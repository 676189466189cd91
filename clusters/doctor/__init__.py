"""`swathe doctor`: whether sweeps can run here, or on a cluster, and if not what to do."""
