"""Loss landscapes: curvature, stability, connectivity."""
