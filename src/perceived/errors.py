"""What can go wrong, as one tree.

::

    PerceivedError                everything this package raises on purpose: the command line exits with 2
    ├── InputError                the caller gave something that cannot be used
    │   ├── DataError             a dataset on disk is missing, incomplete or not what it claims
    │   ├── ImageError            one picture cannot be decoded
    │   ├── SplitError            a split asks for more than the table holds
    │   ├── ConfigError           a recipe, setting or flag is unknown or contradicts another
    │   │   └── PictureSizeError  a recipe's pictures are too small for its network
    │   ├── WeightsError          pretrained weights are out of reach or fail their hash
    │   ├── ModelFileError        a run or model file is damaged, or not one of ours
    │   ├── ResumeError           a run, job or list of answers was started with other settings, or is in use
    │   ├── DivergedError         training diverged: weights or losses are NaN or infinite
    │   └── MissingExtraError     a feature needs an optional dependency
    ├── ServerError               a server cannot be reached, is too busy, or failed
    ├── ClusterError              a cluster cannot be reached, is set up otherwise, or lost what it needs
    └── StorageError              the disk refused: full, read-only, gone

Every message answers three questions: what happened, what was expected, how to mend it.
"""

from __future__ import annotations

STOPPED = 130
"""Exit code after control-C, as shells have it."""


class PerceivedError(Exception):
    """An error raised on purpose, with what happened, what was expected and how to mend it."""

    def __init__(self, what: str, *, expected: str = "", mend: str = "") -> None:
        self.what = what
        self.expected = expected
        self.mend = mend
        super().__init__(what)

    def __str__(self) -> str:
        parts = [self.what]
        if self.expected:
            parts.append(f"Expected: {self.expected}")
        if self.mend:
            parts.append(f"To fix it: {self.mend}")
        return "\n".join(parts)


class InputError(PerceivedError):
    """The caller gave something that cannot be used, and can mend it."""


class DataError(InputError):
    """A dataset on disk is missing, incomplete or not what it claims to be."""


class ImageError(InputError):
    """One picture cannot be decoded."""


class SplitError(InputError):
    """A split asks for more pictures than the table holds."""


class ConfigError(InputError):
    """A recipe, setting or flag is unknown, out of range or contradicts another."""


class PictureSizeError(ConfigError):
    """A recipe's pictures are too small for its network."""


class WeightsError(InputError):
    """Pretrained weights are out of reach or fail their hash."""


class ModelFileError(InputError):
    """A run or model file is damaged, or not one of ours."""


class ResumeError(InputError):
    """The run, job or list of answers to resume was started with other settings, or is in use."""


class DivergedError(InputError):
    """Training diverged: weights or losses are NaN or infinite."""


class MissingExtraError(InputError, ImportError):
    """A feature needs an optional dependency that is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        self.feature = feature
        self.extra = extra
        super().__init__(
            f"{feature} needs the extra {extra!r}, which is not installed.",
            mend=f"pip install 'perceived[{extra}]'",
        )

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        return type(self), (self.feature, self.extra)  # from one process to another


class ServerError(PerceivedError):
    """A server cannot be reached, is busy for too long, or failed."""


class ClusterError(PerceivedError):
    """A cluster cannot be reached, has other versions or other folders, or has nothing free."""


class StorageError(PerceivedError):
    """The disk refused to write or to read."""
