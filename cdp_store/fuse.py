"""A fuse: once a change has failed halfway, nothing more is read or written; the process starts again from its log."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType

from cdp_store.errors import StoreFailed


class Fuse:
    """Lets work pass until it is blown; one is enough for everything that must not go on after a failure."""

    def __init__(self) -> None:
        self._cause: str | None = None

    @property
    def is_blown(self) -> bool:
        """True once nothing may go on."""
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

    def whole(self, what: str, *, harmless: tuple[type[BaseException], ...] = ()) -> Whole:
        """A block that must be done entirely or not be begun: whatever it raises blows the fuse.

        Raises StoreFailed for everything but `harmless` errors, which say that the block has changed nothing.
        """
        return Whole(self, what, harmless)


@dataclass(frozen=True, slots=True)
class Whole:
    """A block guarded by a fuse; see `Fuse.whole`."""

    fuse: Fuse
    what: str
    harmless: tuple[type[BaseException], ...]

    def __enter__(self) -> None:
        self.fuse.check()

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        if error is None or isinstance(error, self.harmless):
            return
        cause = error.cause if isinstance(error, StoreFailed) else f"{self.what}: {type(error).__name__}: {error}"
        failed = self.fuse.blow(cause)
        if not isinstance(error, GeneratorExit):  # the code that abandoned the generator has an error of its own
            raise failed from error
