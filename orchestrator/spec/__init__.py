"""What the user asks: the grammar of a sweep, read from YAML with errors that name file and line."""

from .sweep import Cell, Sweep, cell_key, json_schema, load, parse

__all__ = ["Cell", "Sweep", "cell_key", "json_schema", "load", "parse"]
