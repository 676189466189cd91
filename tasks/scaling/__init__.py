"""How training changes with width, depth and batch."""
