"""Segments written as SQL for DuckDB, from the specification: a road to the answer that shares no line with ours.

A query sees e(n, user_id, event, ts, ...), the events up to T in order of arrival, u(user_id, ...), the population, and
t() = T in UTC. A property or attribute is three columns: "name#n" its numbers, "name#t" its strings, "name#b" its
flags. Every function gives SQL for the user ids of those for whom something holds, or a truth value of a row.
"""

from __future__ import annotations

from fractions import Fraction

from cdp_query import tree

_INTERVAL = {
    "ms": "MILLISECOND",
    "s": "SECOND",
    "m": "MINUTE",
    "h": "HOUR",
    "d": "DAY",
    "w": "WEEK",
    "mo": "MONTH",
    "y": "YEAR",
}
_UNIT = {"d": "day", "w": "week", "mo": "month", "y": "year"}
_AGGREGATES = {
    tree.Measured.SUM: "fsum({})",
    tree.Measured.AVG: "fsum({0}) / count({0})",
    tree.Measured.MIN: "min({})",
    tree.Measured.MAX: "max({})",
    tree.Measured.MEDIAN: "median({})",
}


def members(node: tree.Node) -> str:
    """User ids of a segment."""
    match node:
        case tree.Everyone():
            return "SELECT user_id FROM u"
        case tree.All(items):
            return " INTERSECT ".join(f"({members(item)})" for item in items)
        case tree.Any(items):
            return " UNION ".join(f"({members(item)})" for item in items)
        case tree.Not(item):
            return f"SELECT user_id FROM u EXCEPT ({members(item)})"
        case tree.AttributeTest(name, condition):
            return f"SELECT user_id FROM u WHERE {_holds(name, condition)}"
        case tree.Did(events, window):
            return f"SELECT user_id FROM {_events(events, window)}"
        case tree.CountTest(events, window, op, value, exclude_zero):
            more = " AND v > 0" if exclude_zero else ""
            counted = _number(tree.Measure(tree.Measured.COUNT, events, None, window))
            return f"SELECT user_id FROM {counted} WHERE v {_op(op)} {value}{more}"
        case tree.AggregateTest(aggregate, prop, events, window, op, value):
            number = _number(tree.Measure(tree.Measured(aggregate.value), events, prop, window))
            return f"SELECT user_id FROM {number} WHERE v {_op(op)} {value}"
        case tree.ExpressionTest(left, op, right):
            return f"""SELECT l.user_id FROM {_number(left)} l JOIN {_number(right)} r USING (user_id)
                WHERE l.v {_op(op)} r.v"""
        case tree.InSegment():
            raise AssertionError("named segments are written out before")
    return _about_events(node)


def _about_events(node: tree.Node) -> str:
    match node:
        case tree.OccurrenceTest(occurrence, events, window):
            pick = "min" if occurrence is tree.Occurrence.FIRST else "max"
            ever = f"(SELECT user_id, {pick}(ts) AS ts FROM {_events(events, tree.ALWAYS)} GROUP BY 1)"
            return f"SELECT user_id FROM {ever} x WHERE {_inside(window)}"
        case tree.RecencyTest(events, op, duration, window):
            last = f"(SELECT user_id, max(ts) AS ts FROM {_events(events, window)} GROUP BY 1)"
            # Longer ago than a duration is before the instant that lies that far back; never is longest.
            return f"""SELECT user_id FROM u LEFT JOIN {last} l USING (user_id)
                WHERE -coalesce(epoch_ms(l.ts), -(2**60)) {_op(op)} -epoch_ms({_back(duration)})"""
        case tree.Inactive(duration):
            return f"SELECT user_id FROM u EXCEPT SELECT user_id FROM e WHERE ts > {_back(duration)}"
        case tree.EdgeValueTest(edge, prop, events, window, condition):
            way = "" if edge is tree.Edge.FIRST else " DESC"
            having = f"SELECT * FROM {_events(events, window)} WHERE {_is_set(prop)}"
            return f"""SELECT user_id FROM (SELECT *, row_number() OVER
                (PARTITION BY user_id ORDER BY ts{way}, {_place(events)}{way}, n{way}) AS k FROM ({having}))
                WHERE k = 1 AND {_holds(prop, condition)}"""
        case tree.NthTest(events, number, where, window):
            passes = "true" if where is None else _passes(where)
            return f"""SELECT user_id FROM (SELECT *, row_number() OVER
                (PARTITION BY user_id ORDER BY ts, {_place(events)}, n) AS k FROM {_events(events, window)})
                WHERE k = {number} AND {passes}"""
        case tree.ShareTest(prop, events, window, condition, op, value):
            wanted, held = Fraction(repr(value)), f"count(*) FILTER ({_holds(prop, condition)})"
            return f"""SELECT user_id FROM (SELECT user_id, count(*) AS n, {held} AS m
                FROM {_events(events, window)} WHERE {_is_set(prop)} GROUP BY 1)
                WHERE m * {wanted.denominator} {_op(op)} n * {wanted.numerator}"""
        case tree.StoppedTest(events, earlier, later):
            return f"""SELECT user_id FROM {_events(events, earlier)} EXCEPT
                SELECT user_id FROM {_events(events, later)}"""
        case tree.SequenceTest():
            return _sequence(node)
    raise AssertionError(f"no SQL is written for {node}")


def _sequence(node: tree.SequenceTest) -> str:
    """Every choice of different events, one joined to the ones before it."""
    assert node.rules == tree.PLAIN_RULES
    joins = [f"{_events(node.steps[0], node.window)} s0"]
    for number, step in enumerate(node.steps[1:], 1):
        later = ">" if node.strict_ties else ">="
        different = " AND ".join(f"s{number}.n <> s{before}.n" for before in range(number))
        limit = "" if node.within is None else f" AND s{number}.ts <= s0.ts + {_interval(node.within)}"
        joins.append(
            f"{_events(step, tree.ALWAYS)} s{number} ON s{number}.user_id = s0.user_id AND {different}"
            f" AND s{number}.ts {later} s{number - 1}.ts{limit}"
        )
    return f"SELECT s0.user_id FROM {' JOIN '.join(joins)}"


def _number(expression: tree.Expression) -> str:
    """A table (user_id, v) over the population; v is NULL where it is undefined."""
    match expression:
        case tree.Number(value):
            return f"(SELECT user_id, {value}::DOUBLE AS v FROM u)"
        case tree.Arithmetic(op, left, right):
            sides = f"{_number(left)} l JOIN {_number(right)} r USING (user_id)"
            worked = f"l.v {op.value} nullif(r.v, 0)" if op is tree.ArithmeticOp.DIVIDE else f"l.v {op.value} r.v"
            return f"(SELECT l.user_id, {worked} AS v FROM {sides})"
        case tree.Measure(function, events, prop, window):
            measured = _measured(function, prop)
            found = f"(SELECT user_id, {measured} AS m FROM {_events(events, window)} GROUP BY 1)"
            nothing = "NULL" if function in _AGGREGATES and function is not tree.Measured.SUM else "0"
            return (
                f"(SELECT u.user_id, coalesce(f.m, {nothing})::DOUBLE AS v FROM u LEFT JOIN {found} f USING (user_id))"
            )


def _measured(function: tree.Measured, prop: str | None) -> str:
    match function:
        case tree.Measured.COUNT:
            return "count(*)"
        case tree.Measured.DAYS:
            return "count(DISTINCT date_trunc('day', ts))"
        case tree.Measured.DISTINCT:
            return " + ".join(f'count(DISTINCT "{prop}#{kind}")' for kind in "ntb")
    return _AGGREGATES[function].format(f'"{prop}#n"')


def _events(events: tree.Events, window: tree.Window) -> str:
    names = ", ".join(map(_quoted, events.names))
    where = "" if events.where is None else f" AND {_passes(events.where)}"
    return f"(SELECT * FROM e x WHERE event IN ({names}) AND {_inside(window)}{where})"


def _place(events: tree.Events) -> str:
    """Of events of one instant those of the name that the question writes first come first."""
    return f"list_position([{', '.join(map(_quoted, events.names))}], event)"


def _passes(where: tree.Node) -> str:
    match where:
        case tree.All(items):
            return f"({' AND '.join(map(_passes, items))})"
        case tree.Any(items):
            return f"({' OR '.join(map(_passes, items))})"
        case tree.Not(item):
            return f"(NOT {_passes(item)})"
        case tree.PropertyTest(name, condition):
            return _holds(name, condition)
        case tree.WeekdayTest(days):
            return f"(isodow(ts) IN ({', '.join(map(str, sorted(days)))}))"
        case tree.HourTest(first, last):
            joined = "AND" if first < last else "OR"
            return f"(hour(ts) >= {first} {joined} hour(ts) < {last})"
    raise AssertionError(f"no SQL is written for the filter {where}")


def _holds(name: str, condition: tree.Condition) -> str:
    """A condition on a value of a row; what is not set, or of another type, is missing."""
    match condition:
        case tree.Exists(negated):
            return f"(NOT {_is_set(name)})" if negated else _is_set(name)
        case tree.Compare(tree.Op.NE, value, ci):
            return f"(NOT {_equal(name, value, ci)})"
        case tree.Compare(tree.Op.EQ, value, ci):
            return _equal(name, value, ci)
        case tree.Compare(op, value):
            return f'coalesce("{name}#n" {_op(op)} {value}, false)'
        case tree.Between(low, high):
            return f'coalesce("{name}#n" BETWEEN {low} AND {high}, false)'
        case tree.OneOf(values, negated, ci):
            found = f"({' OR '.join(_equal(name, value, ci) for value in values)})"
            return f"(NOT {found})" if negated else found
        case tree.TextTest(op, pattern, negated, ci):
            column, part = (f'lower("{name}#t")', pattern.lower()) if ci else (f'"{name}#t"', pattern)
            function = {"contains": "contains", "starts_with": "starts_with", "ends_with": "suffix"}[op.value]
            found = f"coalesce({function}({column}, {_quoted(part)}), false)"
            return f"(NOT {found})" if negated else found
    raise AssertionError(f"no SQL is written for the condition {condition}")


def _equal(name: str, value: tree.Literal, ci: bool) -> str:
    match value:
        case bool():
            return f'coalesce("{name}#b" = {str(value).lower()}, false)'
        case int() | float():
            return f'coalesce("{name}#n" = {value}, false)'
        case str() if ci:
            return f'coalesce(lower("{name}#t") = {_quoted(value.lower())}, false)'
        case str():
            return f'coalesce("{name}#t" = {_quoted(value)}, false)'
    raise AssertionError(f"no SQL is written for the literal {value}")


def _is_set(name: str) -> str:
    return "(" + " OR ".join(f'"{name}#{kind}" IS NOT NULL' for kind in "ntb") + ")"


def _inside(window: tree.Window) -> str:
    """Whether x.ts lies in a window."""
    match window:
        case tree.Always():
            return "true"
        case tree.FromTo(start, end):
            return f"(x.ts >= TIMESTAMP '{start.iso}' AND x.ts < TIMESTAMP '{end.iso}' + INTERVAL 1 DAY)"
        case tree.Before(moment):
            return f"(x.ts < TIMESTAMP '{moment.iso}')"
        case tree.After(moment):
            return f"(x.ts >= TIMESTAMP '{moment.iso}' + INTERVAL 1 DAY)"
        case tree.Last(duration):
            return f"(x.ts > {_back(duration)})"
        case tree.LastCalendar(duration):
            return f"(x.ts >= date_trunc('{_UNIT[duration.unit]}', t()) - {_interval(duration)})"
        case tree.DaysAgo(days):
            return f"(date_trunc('day', x.ts) = date_trunc('day', t()) - INTERVAL {days} DAY)"
        case tree.Ago(near, far):
            return f"(x.ts > {_back(far)} AND x.ts <= {_back(near)})"
        case tree.MoreThanAgo(duration):
            return f"(x.ts <= {_back(duration)})"
        case tree.This(unit):
            return f"(x.ts >= date_trunc('{unit}', t()))"
        case tree.Previous(unit):
            current = f"date_trunc('{unit}', t())"
            return f"(x.ts >= {current} - INTERVAL 1 {unit} AND x.ts < {current})"
        case tree.WithinFirst(duration, names):
            named = ", ".join(map(_quoted, names))
            first = f"(SELECT min(f.ts) FROM e f WHERE f.user_id = x.user_id AND f.event IN ({named}))"
            return f"coalesce(x.ts BETWEEN {first} AND {first} + {_interval(duration)}, false)"
    raise AssertionError(f"no SQL is written for the window {window}")


def _back(duration: tree.Duration) -> str:
    return f"(t() - {_interval(duration)})"


def _interval(duration: tree.Duration) -> str:
    return f"INTERVAL {duration.amount} {_INTERVAL[duration.unit]}"


def _op(op: tree.Op) -> str:
    return "<>" if op is tree.Op.NE else op.value


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
