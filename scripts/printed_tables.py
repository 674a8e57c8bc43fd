"""Write what benchmarks printed into the pages: `python scripts/printed_tables.py LOG... [--check]`.

A log is what `python benchmarks/heat.py | tee heat.txt` leaves. A table of a page stands behind a line such as

    <!-- table: heat.py forward; films -->

that names the script and how the titles of its sections begin (without any: all but the figures to reach). Sections
end with a blank line. Below the table go the processor, versions and the day of the run. `--check` writes nothing and
ends with 1 where a page would change.
"""

import re
import sys
from datetime import date
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).resolve().parents[1] / "docs"
MACHINE = re.compile(r"^machine: (\w+\.py)(.*?), (\d{4}-\d\d-\d\d), (.*)$", re.MULTILINE)
MARK = re.compile(r"^<!-- table: (\w+\.py)(?: ([^\n]+))? -->$", re.MULTILINE)
TABLE = re.compile(
    MARK.pattern + r"\n\n?(?:```\n.*?^```\n|(?:\|[^\n]*\n)+)(?:\n\*[^*\n]+; \d+ \w+ \d{4}\*\n)?",
    re.MULTILINE | re.DOTALL,
)
FIGURES = "Figures to reach"
UNSHOWN = ("cpu", "cores", "threads", "gpu", "GFLOP_s", "python", "numpy", "e3nn")


class Log(NamedTuple):
    """What a benchmark printed: its name, the line below a table, its sections."""

    script: str
    line: str
    sections: list[str]

    def taken(self, titles: str | None) -> tuple[list[str], list[str]]:
        """Sections that begin with one of the titles, and titles that are not there."""
        if titles is None:
            return [section for section in self.sections if not section.startswith(FIGURES)], []
        lists = {title: [s for s in self.sections if s.lstrip().startswith(title)] for title in titles.split("; ")}
        return sum(lists.values(), []), [title for title, sections in lists.items() if not sections]


def read_log(text: str) -> Log:
    """Take a log apart; a quick run's is refused."""
    start = MACHINE.search(text)
    if not start:
        raise ValueError("no line 'machine: SCRIPT.py, DATE, ...': save what a script of benchmarks/ prints")
    script, arguments, day, facts = start.groups()
    if "--quick" in arguments:
        raise ValueError(f"{script}{arguments} was a quick run: tables of the pages want a whole one")
    sections = [part.strip("\n") for part in re.split(r"\n(?:[ \t]*\n)+", text[start.end() :])]
    return Log(script, machine_line(facts, date.fromisoformat(day)), [part for part in sections if part.strip()])


def machine_line(facts: str, day: date) -> str:
    """Processor, cores, versions and day in one line of a page."""
    about = dict(fact.split(" ", 1) for fact in facts.split(", "))
    cpu = re.sub(r"\((R|TM)\)|\b(Processor|CPU)\b", "", about["cpu"])
    words = [" ".join(cpu.split()), f"{about['cores']} cores"]
    words += [f"{about['threads']} threads"] if about["threads"] != "1" else []
    words += [about["gpu"]] if "gpu" in about else []
    words += [f"{name} {number.split('+')[0]}" for name, number in about.items() if name not in UNSHOWN]
    return f"*{', '.join(words)}; {day.day} {day:%B %Y}*"


def written(page: str, logs: list[Log], note=print) -> str:
    """Put the logs' sections into a page's text; `note` is told what of their scripts is in no log."""

    def table(match: re.Match) -> str:
        script, titles = match.groups()
        missing = []
        for log in (log for log in logs if log.script == script):
            sections, missing = log.taken(titles)
            if missing or not sections:
                continue
            text = "\n\n".join("\n".join(line.rstrip() for line in part.splitlines()) for part in sections)
            text = f"\n{text}" if text.startswith("|") else f"```\n{text}\n```"
            return f"{match[0].splitlines()[0]}\n{text}\n\n{log.line}\n"
        if missing:
            note(f"left as it is: {script} printed no section that begins with {'; '.join(missing)}")
        return match[0]

    return TABLE.sub(table, page)


def main(words: list[str]) -> int:
    """Write the pages, or say which would change."""
    check, files = "--check" in words, [Path(word) for word in words if word != "--check"]
    if not files:
        raise ValueError("no log: python scripts/printed_tables.py LOG... [--check]")
    logs, stale = [read_log(file.read_text("utf-8")) for file in files], 0
    for page in sorted(DOCS.glob("*.md")):
        text = page.read_text("utf-8")
        new = written(text, logs, lambda words, name=page.name: print(f"{name}: {words}"))
        if new != text:
            stale += 1
            print(f"{page.name}: {'would change' if check else 'written'}")
            if not check:
                page.write_text(new, encoding="utf-8")
    return int(check and stale > 0)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
