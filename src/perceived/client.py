"""A client for a running server: the predictor's ``predict`` and ``stream``, with its results (``perceived[serve]``).

::

    with Client("http://127.0.0.1:8000") as client:
        client.predict("face.jpg").faces[0].perceived_gender
"""

from __future__ import annotations

import functools
import os
import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from email.utils import parsedate_to_datetime
from itertools import chain, repeat
from pathlib import Path
from types import TracebackType
from typing import Any, Self, overload

import httpx2

from perceived import __version__, given
from perceived.errors import ConfigError, ImageError, InputError, ServerError
from perceived.given import Source
from perceived.rows import printable
from perceived.selection import Selection, check_threshold
from perceived.types import Box, Face, Picture, Prediction

MOST_BYTES = 8 * 2**20
"""Encoded bytes that one request gathers, unless a single picture has more."""
MOST_FILES = 8
LONGEST_WAIT = 60.0
"""Seconds; what a server asks for beyond it is not waited for."""
LONGEST_TRY = 86_400.0
"""Seconds, a day; clocks overflow beyond some centuries."""
_AGAIN = frozenset({429, 502, 503, 504})
_TOO_LARGE = 413
_OF_THIS_PROCESS = frozenset({"_http", "_process", "_inherited", "_described"})


class Client:
    """A server's predictor; safe to call from several threads at once, and in other processes: it connects there anew.

    ``url`` is the server's address, ``key`` what it asks of its callers. Answers below ``threshold``
    (the server's own, unless given) are ``"uncertain"``. A server that is busy or cannot be reached
    is asked again, up to ``tries`` times, after the delay it asks for. ``timeout`` is in seconds, for each try.

    Raises:
        ConfigError: the address is no http address, the key or the threshold none, or a number is impossible.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        threshold: float | None = None,
        tries: int = 5,
        timeout: float = 90.0,
    ) -> None:
        if not _is_address(url):
            raise ConfigError(f"{url!r} is no server's address.", expected="like http://127.0.0.1:8000")
        if not isinstance(timeout, int | float) or not 0 < timeout <= LONGEST_TRY:
            raise ConfigError(
                f"A timeout of {timeout!r} s is impossible.", expected=f"above 0, up to {LONGEST_TRY:,.0f} seconds"
            )
        if not isinstance(tries, int) or tries < 1:
            raise ConfigError(f"{tries!r} tries can ask nothing.", expected="a whole number, 1 or more")
        if key and not (isinstance(key, str) and key.isascii() and key.isprintable() and " " not in key):
            raise ConfigError("The server's key has letters that no header can carry.", expected="ASCII without spaces")
        headers = {"User-Agent": f"perceived/{__version__}", **({"X-API-Key": key} if key else {})}
        if threshold is not None:
            check_threshold(threshold)
        self.url = url.rstrip("/")
        self._tries = tries
        self._parameters = {} if threshold is None else {"threshold": str(float(threshold))}
        self._connecting: dict[str, Any] = {"base_url": self.url, "headers": headers, "timeout": timeout}
        self._connect()

    def _connect(self) -> None:
        self._http, self._process = httpx2.Client(**self._connecting, trust_env=False), os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in _OF_THIS_PROCESS}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)
        self._connect()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    @property
    def _connection(self) -> httpx2.Client:
        """What asks the server. After a fork another one: two processes on one connection would mix their requests."""
        if self._process != os.getpid() and not self._http.is_closed:
            self._inherited = self._http  # kept open: it is the other process's to close
            self._connect()
        return self._http

    @overload
    def predict(self, picture: Source) -> Picture: ...  # type: ignore[overload-overlap]  # str and bytes are sequences
    @overload
    def predict(self, picture: Sequence[Source]) -> list[Picture]: ...
    def predict(self, picture: Source | Sequence[Source]) -> Picture | list[Picture]:
        """Answer for one picture, or for a list of them in their order, as :meth:`perceived.Predictor.predict` does.

        Pillow images and pixels, RGB uint8 ``(h, w, 3)``, are sent as PNG.

        Raises:
            ImageError: the one picture cannot be read, or is none. In a list, such a picture is a row whose
                ``error`` says why.
            InputError: the server refuses the request, and says why.
            ServerError: the server cannot be reached, is busy for too long, or failed.
        """
        if not given.is_one(picture):
            return list(self.stream(given.several(picture)))
        answer = next(self.stream([picture]))
        if answer.error is not None:
            raise ImageError(answer.error)
        return answer

    def stream(self, pictures: Iterable[Source | ImageError], names: Iterable[str] = ()) -> Iterator[Picture]:
        """Answer for any number of pictures in their order, a few in each request; see :meth:`predict`.

        ``names`` are what the answers call the pictures; where it ends, a path is its own name. Those who read
        pictures themselves give the :class:`ImageError` of one that they could not read in its place.

        Raises:
            InputError: ``pictures`` is one picture.
        """
        waiting: list[tuple[str, bytes | Picture]] = []
        held = 0
        for source, called in zip(given.several(pictures), chain(names, repeat("")), strict=False):
            name = given.name_of(called or source)
            data = _read(source, name)
            size = len(data) if isinstance(data, bytes) else 0
            if waiting and (held + size > MOST_BYTES or len(waiting) == MOST_FILES):
                yield from self._answer(waiting)
                waiting, held = [], 0
            waiting.append((name, data))
            held += size
        if waiting:
            yield from self._answer(waiting)

    def models(self) -> dict[str, Any]:
        """Return the server's models and limits."""
        return self._checked(self._send("GET", "/v1/models"), "models")

    @functools.cached_property
    def _described(self) -> Mapping[str, Any]:
        return self.models()

    @property
    def _model(self) -> Mapping[str, Any]:
        model: Mapping[str, Any] = self._described["models"][0]
        return model

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the server's model, in its order."""
        return tuple(self._model["labels"])

    @property
    def model_sha256(self) -> str:
        """Hash of the server's model file."""
        return str(self._model["sha256"])

    @property
    def threshold(self) -> float:
        """Below which answers are ``"uncertain"``."""
        asked = self._parameters.get("threshold")
        return float(self._model["threshold"] if asked is None else asked)

    @property
    def detects(self) -> bool:
        """Whether the server looks for faces; otherwise it takes each picture as one."""
        return bool(self._described["detects"])

    selection = Selection()
    """What is asked of faces: nothing, beyond what the server asks."""

    def ready(self) -> bool:
        """Return whether the server takes pictures now; ``False`` also where it cannot be reached."""
        try:
            return not self._connection.is_closed and self._connection.get("/readyz").is_success
        except httpx2.RequestError:
            return False

    def _answer(self, batch: Sequence[tuple[str, bytes | Picture]]) -> Iterator[Picture]:
        """Send what could be read, and put the answers where they belong among what could not.

        The server is told a file's name without its folders, which are nobody else's business, and what is not
        Unicode in it escaped.
        """
        files = [("files", (_told(name), data)) for name, data in batch if isinstance(data, bytes)]
        answers = iter(self._pictures(files) if files else ())
        for name, data in batch:
            if isinstance(data, Picture):
                yield self._of_the_model(data)
                continue
            try:
                picture = _renamed(picture_from_dict(next(answers), name))
            except (StopIteration, LookupError, TypeError, ValueError, AttributeError) as error:
                raise self._no_server_of_ours() from error
            yield picture

    def _of_the_model(self, picture: Picture) -> Picture:
        """Return a row that the server has not written as if it had: with its model's name and hash."""
        return replace(picture, model=self._model["name"], model_sha256=self.model_sha256)

    def _pictures(self, files: Sequence[tuple[str, tuple[str, bytes]]]) -> list[dict[str, Any]]:
        """Return the answers for files; what is too much for one request is asked for in two."""
        response = self._send("POST", "/v1/predict", files=files)
        if response.is_success:
            answers: list[dict[str, Any]] = self._checked(response, "pictures")["pictures"]
            if not isinstance(answers, list):
                raise self._no_server_of_ours()
            return answers
        if len(files) == 1:
            refused = self._of_the_model(Picture(source="", error=f"{files[0][1][0]}: {_refusal(response)}"))
            return [refused.to_dict()]
        half = len(files) // 2
        return self._pictures(files[:half]) + self._pictures(files[half:])

    def _send(self, method: str, path: str, *, files: Any = None) -> httpx2.Response:
        """Ask until there is an answer, at most ``tries`` times; of files it may be that they are too large."""
        if self._connection.is_closed:
            raise InputError("The client is closed.", mend="make another, or ask inside its 'with' statement")
        for left in reversed(range(self._tries)):
            try:
                response = self._connection.request(method, path, files=files, params=self._parameters)
            except httpx2.DecodingError as error:
                raise self._no_server_of_ours() from error
            except httpx2.RequestError as error:
                if not left:
                    raise self._unreachable(error) from error
                time.sleep(_pause(self._tries - left))
                continue
            if response.status_code not in _AGAIN:
                break
            asked = _seconds(response.headers.get("retry-after", ""))
            if not left or (asked or 0) > LONGEST_WAIT:
                break
            time.sleep(_pause(self._tries - left) if asked is None else asked + random.random() / 2)
        if response.is_success or (files and response.status_code == _TOO_LARGE):
            return response
        raise _refusal(response)

    def _checked(self, response: httpx2.Response, key: str) -> dict[str, Any]:
        """Return a JSON answer that has something under ``key``, as all answers of our server have."""
        try:
            answer = response.json()
        except (ValueError, RecursionError):
            answer = None
        if not (isinstance(answer, dict) and answer.get(key)):
            raise self._no_server_of_ours()
        return answer

    @property
    def _shown(self) -> str:
        """The server's address as messages have it: without a password."""
        return str(httpx2.URL(self.url).copy_with(userinfo=b""))

    def _no_server_of_ours(self) -> ServerError:
        return ServerError(
            f"What answers at {self._shown} is no server of perceived.",
            mend="check the address; 'perceived serve' prints its own",
        )

    def _unreachable(self, error: httpx2.RequestError) -> ServerError:
        return ServerError(
            f"The server {self._shown} cannot be reached: {str(error) or type(error).__name__}.",
            mend="check the address, and that 'perceived serve' runs there",
        )


def _is_address(url: str) -> bool:
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, TypeError):  # TypeError: it is no string
        return False
    return parsed.scheme in ("http", "https") and bool(parsed.host) and not (parsed.query or parsed.fragment)


def picture_from_dict(value: Mapping[str, Any], source: str) -> Picture:
    """Return the picture that :meth:`Picture.to_dict` rendered, by the name the caller gave it."""
    kept = {name: value[name] for name in ("width", "height", "error", "model", "model_sha256") if name in value}
    return Picture(source=source, faces=tuple(map(_prediction, value["faces"])), **kept)


def _told(name: str) -> str:
    """Return a picture's name as the server is told it."""
    return printable(Path(name).name or name)


def _renamed(picture: Picture) -> Picture:
    """Let an error call the picture what its caller does: the server knows it without its folders."""
    known = _told(picture.source)
    if picture.error is None or not known or not picture.error.startswith(known):
        return picture
    return replace(picture, error=picture.source + picture.error.removeprefix(known))


def _prediction(value: Mapping[str, Any]) -> Prediction:
    x0, y0, x1, y1 = value["box"]
    points = value["landmarks"]
    face = Face(
        box=Box(x0=x0, y0=y0, x1=x1, y1=y1),
        detection_score=value["detection_score"],
        landmarks=None if points is None else tuple((x, y) for x, y in points),
    )
    return Prediction(
        face=face,
        perceived_gender=value["perceived_gender"],
        confidence=value["confidence"],
        probability=value["probability"],
    )


def _read(source: Source | ImageError, name: str) -> bytes | Picture:
    """Return a picture's encoded bytes, or the row that says why there are none."""
    if isinstance(source, ImageError):
        return Picture(source=name, error=str(source))
    try:
        return given.encode(source, name)
    except ImageError as error:
        return Picture(source=name, error=str(error))


def _refusal(response: httpx2.Response) -> InputError | ServerError:
    """Turn a problem document into the error that says the same."""
    is_problem = response.headers.get("content-type", "").startswith("application/problem+json")
    try:
        problem = response.json() if is_problem else {}
    except ValueError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    what = f"The server answered {response.status_code}: {problem.get('detail') or response.reason_phrase}"
    kind = ServerError if response.status_code >= 500 else InputError
    return kind(what, expected=str(problem.get("expected", "")))


def _seconds(header: str) -> float | None:
    """Return what ``Retry-After`` asks for in seconds, whether it says how many or when they are over."""
    if header.isdecimal():
        return float(header)
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None


def _pause(tried: int) -> float:
    """Return the seconds to wait after so many tries, longer each time, and never quite the same."""
    return min(0.25 * 2.0**tried, 10.0) * (0.5 + random.random() / 2)
