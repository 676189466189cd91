"""What three or more papers share."""
