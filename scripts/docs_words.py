"""Print words, lines of Python, equations and figures of every page: `python scripts/docs_words.py [FOLDER]`."""

import re
import sys
from pathlib import Path

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def counts(text):
    """Count what stands on a page; words as `wc -w` does, blank lines of Python left out."""
    python = [line for part in BLOCK.finditer(text) if part[1] == "python" for line in part[2].splitlines()]
    prose = BLOCK.sub("", text)
    return len(text.split()), sum(bool(line.strip()) for line in python), prose.count("$$") // 2, prose.count("![")


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs"
    rows = {page.relative_to(folder).as_posix(): counts(page.read_text("utf-8")) for page in folder.rglob("*.md")}
    rows = dict(sorted(rows.items(), key=lambda row: -row[1][0]))
    print(f"{'page':24}{'words':>8}{'Python':>8}{'equations':>11}{'figures':>9}")
    for page, numbers in [*rows.items(), ("all", [sum(column) for column in zip(*rows.values(), strict=True)])]:
        print(f"{page:24}{numbers[0]:8,}{numbers[1]:8,}{numbers[2]:11,}{numbers[3]:9,}")
