"""Text of others as it may be shown: without control characters, and without the secrets of URLs.

`masked` is the only place that knows what a secret in a URL looks like, and `visible` the only one that knows which
characters drive a terminal. The command line applies both to all that it prints.
"""

from __future__ import annotations

import re

MASK = "***"

# All control characters but newline and tab, marks that turn the direction of text, further line ends, and halves of
# surrogate pairs, which no stream can encode.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_COLOUR = re.compile("\x1b\\[[0-9;:]*m")

_SECRET = (
    r"password|passwd|pwd|secret|token|signature|sig|credentials?|auth|authorization|apikey|accesskey|accountkey"
    r"|sslpassword|sslkey|awsaccesskeyid|x-amz-[a-z-]+|x-goog-[a-z-]+"
    r"|(?:[a-z0-9.-]+[_-])?(?:password|passwd|secret|token|signature|(?:api|access|secret|account|private|session)[_-]?key"
    r"|access[_-]?key[_-]?id|secret[_-]?access[_-]?key)"
)
# USER:PASSWORD@ up to the last @ of the word: passwords may hold / and @, though they should be quoted there.
_PASSWORD = re.compile(r"(?P<before>[a-z][a-z0-9+.-]*://[^\s:/@?#]*:)[^\s]+(?=@)", re.IGNORECASE)
# TOKEN@ alone, as in addresses of git hosts; elsewhere a user or a container stands there.
_BEARER = re.compile(r"(?P<before>\b(?:git\+)?https?://)[^\s:/@?#]+(?=@)", re.IGNORECASE)
_QUERY = re.compile(rf"(?P<before>[?&;](?:{_SECRET})=)[^\s&;#'\"]+", re.IGNORECASE)
# `--set fixed.hf_token=...`, `PGPASSWORD=...`: the last word of a dotted name, and the whole word.
_ARGUMENT = re.compile(
    r"(?P<before>(?<![\w?&])(?:[\w.-]*\.|--)?(?:[a-z0-9]+_)*"
    r"(?:(?:pg)?password|passwd|secret|token|api_key|access_key|secret_key)=)(?P<quote>['\"]?)[^\s&;'\"]+",
    re.IGNORECASE,
)


def masked(text: str) -> str:
    """`text` with `***` for the passwords, keys and tokens of URLs in it, and of arguments such as `token=...`."""
    if "://" in text:
        text = _BEARER.sub(rf"\g<before>{MASK}", _PASSWORD.sub(rf"\g<before>{MASK}", text))
    if "=" in text:
        text = _QUERY.sub(rf"\g<before>{MASK}", text)
        text = _ARGUMENT.sub(rf"\g<before>\g<quote>{MASK}", text)
    return text


def has_secret(text: str) -> bool:
    """Whether `masked` would hide something of `text`."""
    return masked(text) != text


def visible(text: str) -> str:
    r"""`text` with each character that drives a terminal as its escape, such as `\x1b`; newlines and tabs stay."""
    return _CONTROL.sub(lambda found: _escaped(found[0]), text)


def one_line(text: str) -> str:
    r"""`visible`, newlines and tabs as escapes, too: for a name or a value within a line."""
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def plain_output(text: str) -> str:
    """What a program has printed, as lines: colours removed, a carriage return as a new line, the rest `visible`."""
    text = _COLOUR.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return visible(text)


def json_visible(text: str) -> str:
    r"""JSON with escapes of JSON (`\u009b`) where `visible` has some; it means the same."""
    # Such characters stand in strings only, and below 0x20 JSON itself escapes them there.
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _escaped(character: str) -> str:
    code = ord(character)
    known = {"\r": "\\r", "\b": "\\b", "\f": "\\f", "\v": "\\v"}
    return known.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
