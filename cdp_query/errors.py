"""Error tree of the query side.

QueryError
+-- QuerySyntaxError      the text is no question; points at the place
+-- QueryInvalid          the question has no meaning; names the part and what to do
+-- QueryTooLarge         the question would take more memory than a question may
+-- QueryCancelled        the caller went away or the deadline passed
"""

from __future__ import annotations


class QueryError(Exception):
    """Base of every error a question can cause; `code` is stable for machines."""

    code = "QUERY_ERROR"


class QuerySyntaxError(QueryError):
    """The text does not follow the grammar; the error has the place, the expected words, and the nearest one."""

    code = "QUERY_SYNTAX"

    def __init__(self, text: str, line: int, column: int, problem: str, hint: str = "") -> None:
        self.line, self.column, self.problem, self.hint = line, column, problem, hint
        lines = text.splitlines() or [""]
        place = lines[min(line, len(lines)) - 1]
        shown = f"  {place}\n  {' ' * (column - 1)}^"
        super().__init__(f"line {line}, column {column}: {problem}\n{shown}" + (f"\n{hint}" if hint else ""))


class QueryInvalid(QueryError):
    """A well-formed question without a meaning, such as a window that ends before it starts."""

    code = "QUERY_INVALID"


class QueryCancelled(QueryError):
    """The evaluation was stopped between two steps."""

    code = "QUERY_CANCELLED"


class QueryTooLarge(QueryError):
    """The question would need more memory than a question may."""

    code = "QUERY_TOO_LARGE"
