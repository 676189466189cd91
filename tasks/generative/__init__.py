"""Learning to sample: diffusion, scores, transport."""
