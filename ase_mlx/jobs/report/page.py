"""The page itself: one HTML file with all that it needs, in which nothing from a results file can run.

What comes from files stands in a block of JSON, which has no `<`, `>` or `&`, and reaches the page as text. Scripts
run by the hash of their content alone, and the page may ask no address for anything.

Source: ours.
"""

import base64
import gzip
import hashlib
import html
import json
from functools import cache
from importlib.metadata import version
from importlib.resources import files

from ase_mlx.figures.style import DFT, DOUBT, EXPERIMENT, GREY, MODEL
from ase_mlx.jobs.report.content import Content

SCRIPTS = ("axes.js", "table.js", "scatter.js", "curves.js", "crystal.js", "page.js")
VIEWER = "3Dmol-min.js.gz"
COLOURS = {"model": MODEL, "doubt": DOUBT, "dft": DFT, "experiment": EXPERIMENT, "grey": GREY}


def page(content: Content) -> str:
    """Put a page together (units stand in its content).

    Source: ours.
    """
    data = safe_json({**vars(content), "version": version("ase-mlx")})
    viewer, script = (_viewer(), _script()) if content.crystals else ("", _script())
    allowed = " ".join(f"'sha256-{_hash(text)}'" for text in (viewer, script) if text)
    policy = (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "connect-src 'none'; base-uri 'none'; form-action 'none'"
    )
    pieces = {
        "POLICY": policy,
        "TITLE": html.escape(f"{content.title} – ase_mlx {content.kind}"),
        "STYLE": _part("report.css"),
        "DATA": data,
        "LICENCE": _part("LICENSE-3Dmol.txt").replace("--", "- -") if viewer else "",
        "VIEWER": f"<script>{viewer}</script>" if viewer else "",
        "SCRIPT": script,
    }
    text = _part("page.html")
    head, *rest = text.split("{{")  # in one pass: what is put in is never searched
    return head + "".join(pieces[name] + after for name, _, after in (part.partition("}}") for part in rest))


def safe_json(value: object) -> str:
    """Write JSON that ends no script and starts no tag; what is no finite number has to be null already.

    Source: ours.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=vars)
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode()


@cache
def _part(name: str) -> str:
    return files(__package__).joinpath("parts", name).read_text(encoding="utf-8")


@cache
def _script() -> str:
    code = "\n".join(_part(name) for name in SCRIPTS)
    return f'"use strict";(() => {{\nconst COLOURS = {json.dumps(COLOURS)};\n{code}\n}})();\n'


@cache
def _viewer() -> str:
    packed = files(__package__).joinpath("parts", VIEWER).read_bytes()
    text = gzip.decompress(packed).decode("utf-8")
    return text.replace("</script", "<\\/script")
