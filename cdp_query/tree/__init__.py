"""The unbound tree: a question before any name is looked up. Same shape as the messages of cdp.v1.

The `__all__` of each module lists its part of the tree.
"""

from __future__ import annotations

from cdp_query.tree import (
    conditions,
    event_tests,
    events,
    flow,
    items,
    measures,
    profiles,
    reports,
    segments,
    window_forms,
)
from cdp_query.tree.conditions import *
from cdp_query.tree.event_tests import *
from cdp_query.tree.events import *
from cdp_query.tree.flow import *
from cdp_query.tree.items import *
from cdp_query.tree.measures import *
from cdp_query.tree.profiles import *
from cdp_query.tree.reports import *
from cdp_query.tree.segments import *
from cdp_query.tree.window_forms import *

__all__: list[str] = []
__all__ += conditions.__all__
__all__ += event_tests.__all__
__all__ += events.__all__
__all__ += flow.__all__
__all__ += items.__all__
__all__ += measures.__all__
__all__ += profiles.__all__
__all__ += reports.__all__
__all__ += segments.__all__
__all__ += window_forms.__all__
