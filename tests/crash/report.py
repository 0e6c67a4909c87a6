"""What a run has to say: its sums when all is well; seed, findings and the events around them when it is not."""

import os
import re
import tempfile
from pathlib import Path

AROUND = 40


def summary(seed, cycles, history):
    books = history.books
    acked = sum(len(source.acked) for source in books.sources.values())
    lines = [f"seed {seed}: {cycles} cycles, {acked} messages acknowledged, nothing lost, doubled or out of order"]
    lines.append("  arrived: " + ", ".join(f"{place.arrived} in {place.name}" + (
        f" ({place.repeated} again)" if place.repeated else "") for place in books.places.values() if place.arrived))
    lines.append(f"  looked up: {len(books.registers)} registers, {len(books.mortals)} wills, "
                 + ", ".join(f"{sum(map(len, log.rows.values()))} records of {name}"
                             for name, log in books.logs.items()))
    lines.append("  met: " + ", ".join(f"{count} {what}" for what, count in sorted(history.met.items())))
    return "\n".join(lines)


def tell(seed, history, findings, folder, say):
    """Says what is wrong, with the last events about it, and where the whole history is."""
    path = write(seed, history, findings, folder)
    say(f"\nseed {seed}, cycle {history.cycle}: {len(findings)} findings")
    for finding in findings[:20]:
        say(f"  {finding}")
    for finding in findings[:3]:
        around(history, finding, say)
    say(f"the history ({len(history.bulk) + len(history.rare)} events) is in {path}; the broker's data in {folder}")


def around(history, finding, say):
    """The last events of the place; all of the message, if one is named."""
    say(f"about {finding}")
    named = re.search(r"([\w.-]+):(\d+)", finding.text)
    found = history.about_message(named[1], named[2], AROUND) if named else []
    for event in found or history.about(finding.place, AROUND):
        say(f"  {event}")


def write(seed, history, findings, folder):
    """The history as text, outside of `folder` if that is a temporary one of the tool."""
    target = Path(os.environ.get("RIALTO_CRASH_HISTORY") or tempfile.gettempdir())
    path = target / f"rialto-crash-{seed}-{os.getpid()}.history"
    with path.open("w") as file:
        file.write(f"seed {seed}\n" + "".join(f"{finding}\n" for finding in findings) + "\n")
        file.writelines(f"{event}\n" for event in history.events())
    return path
