"""What the user asks: the grammar of a sweep, read from YAML with errors that name file and line."""

from .cells import Cell, cell_key
from .reading import json_schema, load, parse
from .resources import Resources
from .sweep import Sweep

__all__ = ["Cell", "Resources", "Sweep", "cell_key", "json_schema", "load", "parse"]
