"""Records what Python's croniter and dateutil.rrule say, for `tests/it/recorded.rs` to compare with.

    pip install croniter python-dateutil tzdata
    python evertask/schedule/tests/recorded/record.py

Writes `cron.txt` and `rules.txt` beside itself. The numbers are drawn from a fixed seed, so that a new record differs only where
those libraries, or the tz database, do.

cron.txt:  expression | zone | start | up to 4 instants            (epoch seconds; from croniter)
rules.txt: stored form of a schedule | start | up to 4 instants    (epoch seconds; from rrule)

Left out, since croniter means something else by it or does not know it: `*/n` in a day field beside another day field, steps
within wrapped ranges, `W`, and instants within a day of a change of the clocks, where croniter has no rule. rrule knows no zones.
"""

import datetime as dt
import pathlib
import random
from zoneinfo import ZoneInfo

from croniter import CroniterBadDateError, croniter
from dateutil import rrule

HERE = pathlib.Path(__file__).parent
ZONES = ["UTC", "Europe/Rome", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Santiago"]
UTC = dt.timezone.utc
START, END = 946_684_800, 2_114_380_800  # 2000 to 2036
DAY = 86_400


def offset(zone, at):
    return dt.datetime.fromtimestamp(at, zone).utcoffset()


def field(draw, least, most):
    kind = draw.randrange(10)
    a, b = sorted((draw.randint(least, most), draw.randint(least, most)))
    if kind < 2:
        return "*"
    if kind < 4:
        return str(a)
    if kind == 4:
        return f"*/{draw.randint(1, most - least)}"
    if kind == 5:
        return f"{a}-{b}" if a < b else str(a)
    if kind == 6:
        return f"{a}-{b}/{draw.randint(1, most - least)}" if a < b else str(a)
    if kind == 7:
        return f"{b}-{a}" if a < b else str(a)
    if kind == 8:
        return f"{a}-{b},{draw.randint(least, most)}" if a < b else f"{a},{b}"
    return ",".join(str(draw.randint(least, most)) for _ in range(3))


def expression(draw):
    date = draw.choice(["*", "*", "*", "L", "1", "15", "13", "1,15", "1-7", "10-20", "28", "29", "30", "31", "29-31", "1-31/10", "25-31/2", "28-3"])
    month = draw.choice(["*", "*", "1", "2", "3-5", "JAN,JUL", "*/3", "NOV-FEB", "1-12/5", "2,4,6,9,11"])
    weekday = draw.choice(["*", "*", "*", "0", "7", "1-5", "MON-FRI", "sat,sun", "5", "FRI#2", "L5", "2-6", "5-1", "1-5/2"])
    if weekday in ("FRI#2", "L5"):
        date = "*"  # croniter takes them only alone
    return f"{field(draw, 0, 59)} {field(draw, 0, 23)} {date} {month} {weekday}"


def cron(draw, lines):
    text, name = expression(draw), draw.choice(ZONES)
    zone, start = ZoneInfo(name), draw.randrange(START, END)
    found, last = [], start
    for _ in range(4):
        # On the wall, without any zone: croniter's own steps across changes of the clocks are not to be relied on.
        wall = dt.datetime.fromtimestamp(last, zone).replace(tzinfo=None)
        try:
            wall = croniter(text, wall).get_next(dt.datetime)
        except CroniterBadDateError:  # no month of these has such a day
            break
        at = int(wall.replace(tzinfo=zone).timestamp())
        if offset(zone, last - DAY) != offset(zone, last + DAY) or offset(zone, at - DAY) != offset(zone, at + DAY):
            break
        found.append(at)
        last = at
    if found:
        ours = text.replace("L5", "5L")
        lines.append(f"{ours}|{name}|{start}|{' '.join(map(str, found))}")


NAMES = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


def rule(draw, lines):
    start = draw.randrange(START, END)
    anchor = dt.datetime.fromtimestamp(draw.randrange(START, START + 3000 * DAY), UTC).replace(hour=0, minute=0, second=0)
    hour, minute, every = draw.randrange(24), draw.randrange(60), draw.randint(1, 6)
    kind = draw.randrange(6)
    counted = f"{every} from {anchor:%Y-%m-%dT%H:%M:%SZ}" if every > 1 else "1"
    clock = {"byhour": hour, "byminute": minute, "bysecond": 0}
    first_of_month = anchor.replace(day=1)
    if kind == 0:
        what, begin, more = f"days {counted}", anchor, {"freq": rrule.DAILY}
    elif kind == 1:
        days = sorted(draw.sample(range(7), draw.randint(1, 4)))
        what = f"weeks {counted} on {','.join(NAMES[d] for d in days)}"
        begin, more = anchor - dt.timedelta(days=anchor.weekday()), {"freq": rrule.WEEKLY, "byweekday": days, "wkst": 0}
    elif kind == 2:
        days = sorted(draw.sample(range(1, 29), draw.randint(1, 3)))
        what = f"months {counted} on {','.join(map(str, days))}"
        begin, more = first_of_month, {"freq": rrule.MONTHLY, "bymonthday": days}
    elif kind == 3:
        n, day = draw.randint(1, 5), draw.randrange(7)
        what = f"months {counted} on {NAMES[day]}#{n}"
        begin, more = first_of_month, {"freq": rrule.MONTHLY, "byweekday": rrule.weekday(day, n)}
    elif kind == 4:
        day = draw.randrange(7)
        what = f"months {counted} on {NAMES[day]}L"
        begin, more = first_of_month, {"freq": rrule.MONTHLY, "byweekday": rrule.weekday(day, -1)}
    else:
        months, every = sorted(draw.sample(range(12), draw.randint(1, 5))), 1
        what = f"months {','.join(MONTHS[m] for m in months)} on L"
        begin = dt.datetime(1999, 1, 1, tzinfo=UTC)
        more = {"freq": rrule.MONTHLY, "bymonth": [m + 1 for m in months], "bymonthday": -1}
    start = max(start, int(begin.timestamp()))
    series = rrule.rrule(dtstart=begin, interval=every, **more, **clock)
    after = dt.datetime.fromtimestamp(start, UTC)
    found = [int(at.timestamp()) for at in series.xafter(after, count=4)]
    lines.append(f"v1 {what} at {hour:02}:{minute:02} tz UTC|{start}|{' '.join(map(str, found))}")


def record(name, draw_one, count):
    draw, lines = random.Random(2026), []
    while len(lines) < count:
        draw_one(draw, lines)
    (HERE / name).write_text("\n".join(lines) + "\n")


record("cron.txt", cron, 16_000)
record("rules.txt", rule, 5_000)
