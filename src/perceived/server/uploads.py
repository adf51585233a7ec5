"""From a request's body to pictures, in memory only: multipart, JSON with base64, or one picture as it is."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from perceived.server.problems import Problem
from perceived.server.schema import EncodedPicture, PredictQuery, PredictRequest, what_is_wrong

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FIELD = "files"
"""Name of the form field that carries pictures."""
LONGEST_NAME = 255
MARKS = 100
"""Commas and brackets of JSON for each picture there may be, far more than any needs: they bound what is made of it."""
_IN_THE_ADDRESS = f"{', '.join(PredictQuery.model_fields)} belong in the address"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One picture as it came: what its sender calls it, its encoded bytes, and why it is refused, if it is."""

    name: str
    data: bytes
    error: str | None = None


def parse(content_type: str, body: bytes, *, max_files: int, max_file: int) -> list[Upload]:
    """Return the pictures of a body, in their order.

    A picture larger than ``max_file`` is refused alone, with its bytes let go.

    Raises:
        Problem: the body is malformed, of another type, or holds no or too many pictures.
    """
    kind, options = parse_options_header(content_type)
    if kind == b"multipart/form-data":
        uploads = _from_form(body, options.get(b"boundary", b""), max_files)
    elif kind == b"application/json":
        uploads = _from_json(body, max_files)
    elif kind.startswith(b"image/") or kind == b"application/octet-stream":
        uploads = [Upload(name="picture", data=body)] if body else []
    else:
        raise Problem("unsupported-media-type", f"The Content-Type is {content_type[:100]!r}.")
    if not uploads:
        member = "pictures" if kind == b"application/json" else FIELD
        raise Problem("no-pictures", "The body holds no picture.", expected=f"one or more in the field {member!r}")
    return [_sized(upload, max_file) for upload in uploads]


def shown(name: str) -> str:
    """Return a sender's name for a picture without control characters, and not too long to show.

    It is only ever shown, never used as a path.
    """
    whole = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name)
    return whole if len(whole) <= LONGEST_NAME else whole[: LONGEST_NAME - 1] + "…"


def _sized(upload: Upload, max_file: int) -> Upload:
    if len(upload.data) <= max_file:
        return upload
    error = f"{upload.name} has {len(upload.data):,} bytes.\nExpected: at most {max_file:,}"
    return Upload(name=upload.name, data=b"", error=error)


@dataclass(slots=True)
class _Form:
    """What the multipart parser has met so far; its methods are the parser's callbacks."""

    max_files: int
    uploads: list[Upload] = field(default_factory=list)
    headers: dict[bytes, bytes] = field(default_factory=dict)
    header: tuple[bytearray, bytearray] = field(default_factory=lambda: (bytearray(), bytearray()))
    data: list[bytes] = field(default_factory=list)
    ended: bool = False

    def on_part_begin(self) -> None:
        self.headers, self.data = {}, []

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self.header[0].extend(data[start:end])

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self.header[1].extend(data[start:end])

    def on_header_end(self) -> None:
        self.headers[bytes(self.header[0]).lower()] = bytes(self.header[1])
        self.header = (bytearray(), bytearray())

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self.headers.get(b"content-disposition"))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if name != FIELD:
            raise Problem(
                "malformed-body",
                f"The form has a field {shown(name)!r}.",
                expected=f"only {FIELD!r}, as often as there are pictures; {_IN_THE_ADDRESS}",
            )
        if len(self.uploads) == self.max_files:
            raise _too_many(self.max_files)

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self.data.append(data[start:end])

    def on_part_end(self) -> None:
        _, options = parse_options_header(self.headers.get(b"content-disposition"))
        name = options.get(b"filename", b"").decode("utf-8", "replace") or f"picture {len(self.uploads) + 1}"
        self.uploads.append(Upload(name=shown(name), data=b"".join(self.data)))

    def on_end(self) -> None:
        self.ended = True

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self.on_part_begin,
            "on_header_field": self.on_header_field,
            "on_header_value": self.on_header_value,
            "on_header_end": self.on_header_end,
            "on_headers_finished": self.on_headers_finished,
            "on_part_data": self.on_part_data,
            "on_part_end": self.on_part_end,
            "on_end": self.on_end,
        }


def _from_form(body: bytes, boundary: bytes, max_files: int) -> list[Upload]:
    if not boundary:
        raise Problem(
            "malformed-body", "The Content-Type names no boundary.", expected="multipart/form-data; boundary=…"
        )
    form = _Form(max_files)
    try:
        MultipartParser(boundary, form.callbacks()).write(body)
    except FormParserError as error:
        raise Problem("malformed-body", f"The form cannot be read: {error}") from error
    if not form.ended:
        raise Problem("malformed-body", "The form is cut short: its last boundary is missing.")
    return form.uploads


def _from_json(body: bytes, max_files: int) -> list[Upload]:
    if sum(map(body.count, (b",", b"{", b"["))) > MARKS * (max_files + 1):
        raise _too_many(max_files)
    try:
        request = PredictRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise Problem(
            "malformed-body",
            what_is_wrong(first["loc"], first),
            expected=f'{{"pictures": [{{"name": "<name>", "data": "<base64>"}}]}}; {_IN_THE_ADDRESS}',
        ) from None
    count = len(request.pictures)
    if count > max_files:
        raise _too_many(max_files)
    for member, most in (("pictures", 1), ("data", count), ("name", count)):
        if len(re.findall(rf'"{member}"\s*:'.encode(), body)) > most:
            raise Problem("malformed-body", f"An object has the member {member!r} twice.", expected="each once")
    return [_decoded(picture, number) for number, picture in enumerate(request.pictures, 1)]


def _decoded(picture: EncodedPicture, number: int) -> Upload:
    name = shown(picture.name) or f"picture {number}"
    try:
        return Upload(name=name, data=base64.b64decode(picture.data, validate=True))
    except (binascii.Error, ValueError):
        return Upload(name=name, data=b"", error=f"{name} is not base64.\nExpected: the picture's bytes in base64")


def _too_many(max_files: int) -> Problem:
    return Problem("too-many-files", "The request holds more files than one may.", expected=f"at most {max_files}")
