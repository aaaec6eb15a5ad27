"""Verifies that an audit is unchanged: no line changed, removed, inserted or moved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cdp_router.errors import AuditFailed
from cdp_router.security.audit.audit_files import files_of, read_anchor, read_head
from cdp_router.security.audit.audit_lines import NO_HASH, Line, from_line, is_unchanged


@dataclass(frozen=True, slots=True)
class Checked:
    """Findings in a folder: number of entries, numbers of the first and the last, hash of the last, and problems."""

    folder: Path
    entries: int
    first: int
    last: int
    problems: tuple[str, ...]
    last_hash: str = NO_HASH


def read_lines(folder: Path) -> Iterator[tuple[str, bytes, Line | None]]:
    """Every line of a folder: its place, its bytes, and its entry, if it can be read."""
    for path in files_of(folder):
        with path.open("rb") as file:
            for place, line in enumerate(file, 1):
                yield f"{path}:{place}", line, from_line(line)


def check(folder: Path, secret: bytes, expected: Mapping[int, str] | None = None) -> Checked:
    """Reads all lines of a folder and compares them with their hashes, with each other, and with hashes by number from
    an earlier check.
    """
    chain = _Chain(folder, secret, expected or {})
    for where, raw, line in read_lines(folder):
        chain.follow(where, raw, line)
    return chain.finish()


class _Chain:
    """The lines read so far."""

    def __init__(self, folder: Path, secret: bytes, expected: Mapping[int, str]) -> None:
        self._folder, self._secret, self._expected = folder, secret, expected
        self._found = dict[int, str]()  # hashes of entries that are expected
        self._entries = self._first = self._last = 0
        self._hash: str | None = NO_HASH  # None: of a changed line
        self._missing = dict[int, str]()  # skipped entries, and the place where they are missing
        self._problems = list[str]()

    def follow(self, where: str, raw: bytes, line: Line | None) -> None:
        """Checks the next line."""
        if line is None:
            self._problems.append(f"{where} is no entry: it was changed")
            return
        number = line.entry.number
        is_right = is_unchanged(raw, self._secret)
        if not is_right:
            self._problems.append(f"{where} (entry {number}) was changed")
        self._entries += 1
        if not self._first:
            self._begin(where, number)
        elif number <= self._last:
            self._missing.pop(number, None)
            self._problems.append(f"{where} (entry {number}) comes after entry {self._last}")
            return
        elif number > self._last + 1:
            self._missing.update(dict.fromkeys(range(self._last + 1, number), where))
        elif is_right and self._hash not in (None, line.entry.before):
            self._problems.append(
                f"{where} (entry {number}) was written after another entry {number - 1} than the one here"
            )
        self._last, self._hash = number, line.hash if is_right else None
        if number in self._expected:
            self._found[number] = line.hash

    def finish(self) -> Checked:
        """All problems found."""
        last = max(self._head(), self._anchored())
        self._missing.update(dict.fromkeys(range(self._last + 1, last + 1), "the end"))
        for first, last, where in _runs(self._missing):
            which = f"entry {first} is" if first == last else f"entries {first} to {last} are"
            self._problems.append(f"{which} missing before {where}")
        for number, digest in self._expected.items():
            if self._found.get(number) != digest:
                self._problems.append(f"entry {number} of {self._folder.name} is not the expected one")
        problems = tuple(self._problems)
        return Checked(self._folder, self._entries, self._first, self._last, problems, self._hash or NO_HASH)

    def _head(self) -> int:
        number, _ = read_head(self._folder)
        if self._entries and not number:
            self._problems.append(f"{self._folder / 'head'} was removed or changed; entries may be missing at the end")
        return number

    def _anchored(self) -> int:
        try:
            number, digest = read_anchor(self._folder, self._secret) or (0, NO_HASH)
        except AuditFailed as error:
            if not self._problems:  # else a writer without the secret may have forged lines and anchor alike
                self._problems.append(str(error))
            return 0
        if number == self._last and self._hash not in (None, digest):
            self._problems.append(f"entry {number} differs from the anchor")
        return number

    def _begin(self, where: str, number: int) -> None:
        """Notes the first number. Whole files may be removed, the oldest first; lines may not."""
        self._first = number
        if number > 1 and Path(where.rpartition(":")[0]).stem == "000001":
            self._missing.update(dict.fromkeys(range(1, number), where))


def _runs(missing: dict[int, str]) -> Iterator[tuple[int, int, str]]:
    """(first, last, place) of consecutive numbers at one place."""
    first = last = 0
    where = ""
    for number in sorted(missing):
        if first and (number != last + 1 or missing[number] != where):
            yield first, last, where
            first = 0
        if not first:
            first, where = number, missing[number]
        last = number
    if first:
        yield first, last, where
