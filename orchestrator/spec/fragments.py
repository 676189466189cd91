"""The parts of the JSON Schema that types cannot say: parameters, axes and values, as fragments of draft 2020-12."""

from __future__ import annotations

from typing import Any

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]

_NAMES: Schema = {"pattern": r"^[^\s.]{1,100}$"}  # wider than the rule, for letters mean ASCII to some validators
_VALUE: Schema = {"type": ["boolean", "number", "string"]}
_VALUES: Schema = {"type": "array", "items": _VALUE, "minItems": 1}
_WHEN: Schema = {
    "description": "The parameter exists only where these other parameters have these values.",
    "anyOf": [{"type": "object", "additionalProperties": _VALUE, "minProperties": 1}, {"type": "null"}],
}


def _mapping(required: tuple[str, ...], **properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def _described(schema: Schema, description: str) -> Schema:
    return {**schema, "description": description}


def _named(values: Schema) -> Schema:
    return {"type": "object", "propertyNames": _NAMES, "additionalProperties": values}


_LOG2: Schema = {
    "type": "array",
    "items": {"type": "number", "minimum": -1022, "maximum": 1023},
    "minItems": 2,
    "maxItems": 2,
    "description": "The lowest and the highest power of two.",
}
_NUM: Schema = {"type": "integer", "minimum": 1, "maximum": 10_000, "description": "How many points, ends included."}
_NUMBER: Schema = {"type": "number"}
_FLAG: Schema = {"type": "boolean", "default": False}

_RANGE = _mapping(
    ("low", "high"),
    low=_described(_NUMBER, "The lowest value."),
    high=_described(_NUMBER, "The highest value, included."),
    log=_described(_FLAG, "Search the logarithm."),
    int=_described(_FLAG, "Whole numbers only."),
    step=_described({"type": ["number", "null"], "exclusiveMinimum": 0}, "Only low + k * step."),
    when=_WHEN,
)
_CHOICE = _mapping(("choices",), choices=_described(_VALUES, "The values, in no particular order."), when=_WHEN)
_POWERS = _mapping(("log2", "num"), log2=_LOG2, num=_NUM, when=_WHEN)

SEARCH = _named({"oneOf": [_RANGE, _CHOICE, _POWERS]})
GRID = _named({"oneOf": [_VALUES, _mapping(("log2", "num"), log2=_LOG2, num=_NUM)]})
FIXED = _named(_VALUE)
WHEN_GRID: Schema = {
    "anyOf": [
        {"type": "object", "additionalProperties": {"anyOf": [_VALUE, _VALUES]}, "minProperties": 1},
        {"type": "null"},
    ]
}
FUSE: Schema = {"anyOf": [{"enum": ["auto", "off"]}, {"type": "integer", "minimum": 1}]}


def complete(schema: Schema, samplers: tuple[str, ...]) -> Schema:
    """The whole schema from that of the model: its dialect, the short form of `sampler`, and task or command."""
    properties: Schema = {**schema["properties"]}
    properties["sampler"] = {
        "description": properties["sampler"]["description"],
        "anyOf": [{"enum": list(samplers)}, {"$ref": "#/$defs/Sampler"}],
    }
    code: list[Schema] = [{"required": ["task"]}, {"required": ["command"]}]
    return {"$schema": DIALECT, **schema, "properties": properties, "oneOf": code}
