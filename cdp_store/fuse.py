"""A fuse: once a change has failed halfway, nothing more is read or written; the process starts again from its log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cdp_store.errors import StoreFailed


class Fuse:
    """Lets work pass until it is blown; one is enough for everything that must not go on after a failure."""

    def __init__(self) -> None:
        self._cause: str | None = None

    @property
    def is_blown(self) -> bool:
        """Whether nothing may go on."""
        return self._cause is not None

    def check(self) -> None:
        """Raise StoreFailed once the fuse is blown."""
        if self._cause is not None:
            raise StoreFailed(self._cause)

    def blow(self, cause: str) -> StoreFailed:
        """Let nothing pass from now on; returns what to raise. The first cause is the one that is reported."""
        if self._cause is None:
            self._cause = cause
        return StoreFailed(self._cause)

    @contextmanager
    def whole(self, what: str, *, harmless: tuple[type[BaseException], ...] = ()) -> Iterator[None]:
        """Run a block that must be done entirely or not be begun: whatever it raises blows the fuse.

        Raises StoreFailed for everything but `harmless` errors, which say that the block has changed nothing.
        """
        self.check()
        try:
            yield
        except harmless:
            raise
        except StoreFailed as error:
            raise self.blow(error.cause) from error
        except BaseException as error:
            raise self.blow(f"{what}: {type(error).__name__}: {error}") from error
