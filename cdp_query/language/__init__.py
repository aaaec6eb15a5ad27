"""The text form of questions: text -> lark's tree -> tree, and tree -> canonical text."""

from cdp_query.language.parse import parse
from cdp_query.language.print_reports import print_heading, print_question

__all__ = ["parse", "print_heading", "print_question"]
