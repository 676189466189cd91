"""What networks learn, how fast, and from how little."""
