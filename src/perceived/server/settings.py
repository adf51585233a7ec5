"""How the server is set up: flags, then ``PERCEIVED_SERVE_*`` variables, then a file of them, then these defaults."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self

from dotenv.parser import parse_stream
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from perceived.errors import ConfigError
from perceived.prefetch import processors

PREFIX = "PERCEIVED_SERVE_"
_NOT_REACHED = "default_factory_not_called"
"""What pydantic says of a default that waits for other settings, beside the error that is in one of those."""
_PROTOCOLS = ("tcp://", "udp://", "sctp://")
_OF_KUBERNETES = re.compile(rf"{PREFIX}(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_\w+)", re.IGNORECASE)
SMALLEST_BODY = 1000
"""Bytes: a limit below holds hardly any picture; whoever set it probably meant another unit."""


def _share_of_processors(chosen: Mapping[str, Any]) -> int:
    """Return how many processors there are for each of several workers."""
    return max(1, processors() // int(chosen.get("workers", 1)))


class Settings(BaseSettings):
    """Everything about a server that can be chosen. Sizes are in bytes, times in seconds."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, protected_namespaces=())

    host: str = Field(default="127.0.0.1", min_length=1)
    """An empty one would listen to everybody."""
    port: int = Field(default=8000, ge=0, le=65535)
    workers: int = Field(default=1, ge=1, le=64)
    model: str = "default"
    device: str = "cpu"
    """What runs the model: a name of :data:`perceived.devices.DEVICES`."""
    threshold: float | None = Field(default=None, ge=0, le=1)
    detect: bool = True
    """Whether to look for faces; otherwise each picture is taken as one."""
    min_face: int | None = Field(default=None, ge=1)
    """Smallest face answered, in pixels; ``None`` leaves it to the detector."""
    threads: int = Field(default_factory=_share_of_processors, ge=1, le=256)
    """Pictures that are answered at the same time in each worker, each on one CPU thread."""

    api_key: SecretStr | None = None
    """What callers of the API must present; ``None`` asks for nothing."""
    cors_origins: list[str] = []
    """Web origins whose pages may call the API."""

    max_body: int = 64 * 2**20
    max_file: int = 20 * 2**20
    max_pixels: int = Field(default=50_000_000, ge=64)
    max_files: int = Field(default=64, ge=1)
    max_faces: int = Field(default=256, ge=1)
    """Faces answered in one picture, the largest."""
    max_connections: int = Field(default=512, ge=1)
    max_memory: int = 256 * 2**20
    """Request bodies held at the same time, in each worker."""
    queue: int = Field(default=256, ge=1)
    """Pictures that may wait, in each worker."""

    header_timeout: float = Field(default=10, gt=0, allow_inf_nan=False)
    body_timeout: float = Field(default=30, gt=0, allow_inf_nan=False)
    answer_timeout: float = Field(default=60, gt=0, allow_inf_nan=False)
    drain: float = Field(default=1, ge=0, allow_inf_nan=False)
    """How long a server that was told to stop goes on taking requests of connections it has."""
    stop_timeout: int = Field(default=90, ge=1)
    """How long it then waits for answers that are under way."""

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource, dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:  # fmt: skip
        """Leave out the variables of Kubernetes: of a service called ``perceived-serve``, one is named as our port."""
        assert isinstance(env_settings, EnvSettingsSource)
        ours = {name: value for name, value in env_settings.env_vars.items() if not _is_of_kubernetes(name, value)}
        env_settings.env_vars = ours
        return init_settings, env_settings, dotenv_settings, file_secret_settings

    @field_validator("api_key")
    @classmethod
    def _can_be_sent(cls, key: SecretStr | None) -> SecretStr | None:
        if key is None:
            return None
        if not key.get_secret_value():
            raise ValueError("an empty key would let everybody in; leave it unset for a server that asks for none")
        if not re.fullmatch(r"[!-~]+", key.get_secret_value()):
            raise ValueError("a header carries letters, digits and signs of ASCII only, without spaces")
        return key

    @field_validator("max_body", "max_file", "max_memory")
    @classmethod
    def _holds_a_picture(cls, count: int) -> int:
        if count < SMALLEST_BODY:
            raise ValueError(
                f"{count} bytes hold no picture; it is {SMALLEST_BODY:,} bytes or more, and 64 MiB are {64 * 2**20}"
            )
        return count

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.max_files > self.queue:
            raise ValueError(f"max_files ({self.max_files}) is more than the queue holds ({self.queue})")
        if self.max_body > self.max_memory:
            raise ValueError(f"max_body ({self.max_body}) is more than max_memory ({self.max_memory})")
        return self


def load(file: Path | None = None, **flags: Any) -> Settings:
    """Return the settings: ``flags`` that are not ``None``, over the environment, over ``file``.

    ``file`` has lines like ``PERCEIVED_SERVE_PORT=9000``.

    Raises:
        ConfigError: the file is missing, or a setting is unknown, impossible or contradicts another.
    """
    if file is not None and not file.is_file():
        raise ConfigError(f"There is no file {file}.", expected=f"a file with lines like {PREFIX}PORT=9000")
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        _check_environment()
        if file is not None:
            _check_file(file)
        return Settings(_env_file=file, **given)  # type: ignore[call-arg]
    except ValidationError as error:
        found = [one for one in error.errors() if one["type"] != _NOT_REACHED]
        wrong = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'settings'}: {one['msg']}" for one in found)
        raise ConfigError(
            f"These server settings are not valid: {wrong}.", mend="see docs/serve.md for every setting"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file} is not UTF-8.", expected=f"a file with lines like {PREFIX}PORT=9000") from None
    except SettingsError as error:
        raise ConfigError(
            f"These server settings are not valid: {error}.",
            expected='JSON in what is a list, such as ["https://example.org"]',
            mend="see docs/serve.md for every setting",
        ) from None


def _check_file(file: Path) -> None:
    """Raise :class:`ConfigError` if a line would be passed over: it cannot be read, or lacks our prefix."""
    known = [name.upper() for name in Settings.model_fields]
    with file.open(encoding="utf-8") as lines:
        read = list(parse_stream(lines))
    for one in read:
        if one.error or (one.key is not None and (one.value is None or "${" in one.value)):
            raise ConfigError(
                f"Line {one.original.line} of {file} cannot be read.",
                expected=f"lines like {PREFIX}PORT=9000; quotes that begin also end, and no ${{…}}",
            )
    for name in (one.key for one in read if one.key is not None):
        if name.upper() in known:
            raise ConfigError(
                f"{file} sets {name}, which is no name of a setting.",
                expected=f"{PREFIX}{name.upper()}",
                mend="add the prefix",
            )


def _is_of_kubernetes(name: str, value: str | None) -> bool:
    return bool(_OF_KUBERNETES.fullmatch(name)) or (value or "").startswith(_PROTOCOLS)


def _check_environment() -> None:
    """Raise :class:`ConfigError` if a variable has our prefix and names no setting.

    Those that Kubernetes sets in every container for a service called ``perceived-serve…`` are nobody's mistake.
    """
    known = [name.upper() for name in Settings.model_fields]
    for name, value in os.environ.items():
        setting = name.upper().removeprefix(PREFIX)
        if name.upper().startswith(PREFIX) and setting not in known and not _is_of_kubernetes(name, value):
            close = get_close_matches(setting, known, 1) or known
            raise ConfigError(
                f"The variable {name} names no setting of the server.",
                expected=("" if len(close) == 1 else "one of ") + ", ".join(PREFIX + one for one in close),
                mend="rename it, or take it out of the environment",
            )
