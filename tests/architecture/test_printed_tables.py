import re
import sys
from pathlib import Path

import pytest
from script import load

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
LOG = """\
machine: heat.py --tables forward films, 2026-11-30, cpu Intel(R) Xeon(R) Processor, cores 2, threads 1, \
python 3.11.7, torch 2.13.0+cpu, numpy 2.4.6, ase 3.29.0, phono3py 4.8.2

forward
              error
1-D         7.9e-11   \n
films
  at most 0.45 %

Figures to reach
  reached  1-D: error   0.000 ≤ 1.000
"""
BELOW = "*Intel Xeon, 2 cores, torch 2.13.0, ase 3.29.0, phono3py 4.8.2; 30 November 2026*"


@pytest.fixture(scope="module")
def tables():
    return load("printed_tables")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_mark_names_a_benchmark_and_stands_before_a_table(page, tables):
    text = page.read_text(encoding="utf-8")
    scripts = [mark[1] for mark in tables.MARK.finditer(text)]
    assert [name for name in scripts if not (ROOT / "benchmarks" / name).is_file()] == []
    assert text.count("<!-- table:") == len(scripts) == len(tables.TABLE.findall(text))


def test_no_table_of_results_is_typed_by_hand(tables):
    rest = tables.TABLE.sub("", (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8"))
    blocks = re.findall(r"^```(\w*)\n.*?^```$", rest, re.MULTILINE | re.DOTALL)
    assert set(blocks) <= {"sh"}
    assert re.findall(r"^\|.*", rest, re.MULTILINE) == []


def test_what_the_benchmarks_print_is_read(tables, capsys, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.setattr(sys, "argv", ["benchmarks/heat.py", "--tables", "films"])
    from verdict import machine, print_machine

    print_machine(machine() | {"phono3py": "4.8.2"})
    log = tables.read_log(capsys.readouterr().out)
    assert log.script == "heat.py"
    assert re.fullmatch(r"\*[^*\n]+ cores, .*torch \d[\d.]+, .*phono3py 4\.8\.2; \d+ \w+ \d{4}\*", log.line)


@pytest.mark.parametrize(
    "old", ["```\nold\n```\n", f"```\nold\n\n2\n```\n\n{BELOW.replace('30', '1')}\n", "\n| a |\n|---|\n"]
)
def test_sections_of_a_log_take_the_places_of_tables(tables, old):
    page = f"Text.\n\n<!-- table: heat.py films; forward -->\n{old}\nMore text, *too*.\n"
    new = tables.written(page, [tables.read_log(LOG)])
    printed = "films\n  at most 0.45 %\n\nforward\n              error\n1-D         7.9e-11"
    assert new == page.replace(old, f"```\n{printed}\n```\n\n{BELOW}\n")
    assert tables.written(new, [tables.read_log(LOG)]) == new


def test_without_a_title_all_but_the_figures_to_reach_is_taken(tables):
    page = "<!-- table: heat.py -->\n```\n```\n"
    new = tables.written(page, [tables.read_log(LOG)])
    assert new.index("forward") < new.index("films")
    assert "Figures" not in new
    asked = tables.written(page.replace("heat.py", "heat.py Figures"), [tables.read_log(LOG)])
    assert "reached  1-D" in asked


def test_tables_of_other_scripts_and_of_titles_that_were_not_printed_stay(tables):
    log, notes = tables.read_log(LOG), []
    for mark in ("thermal.py", "heat.py levels", "heat.py forward; levels"):
        page = f"<!-- table: {mark} -->\n```\nold\n```\n"
        assert tables.written(page, [log], notes.append) == page
    assert len(notes) == 2
    assert all("levels" in note for note in notes)


def test_a_table_of_a_page_stays_a_table_of_a_page(tables):
    log = tables.read_log(LOG.replace("films\n", "| films |\n|---|\n"))
    new = tables.written("<!-- table: heat.py | films -->\n```\nold\n```\n", [log])
    assert new == f"<!-- table: heat.py | films -->\n\n| films |\n|---|\n  at most 0.45 %\n\n{BELOW}\n"


@pytest.mark.parametrize(("text", "reason"), [(LOG.replace("films,", "--quick,", 1), "quick"), (LOG[9:], "no line")])
def test_logs_that_are_none_are_refused(tables, text, reason):
    with pytest.raises(ValueError, match=reason):
        tables.read_log(text)
