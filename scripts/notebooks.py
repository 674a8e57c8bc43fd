"""The tutorials: notebooks that are run here, their outputs stored, and set as pages by mkdocs.

    python scripts/notebooks.py                # run all of docs/tutorials and store what they print and draw
    python scripts/notebooks.py FILE.ipynb     # one of them

As a hook of mkdocs it makes a page of each. Neither needs Jupyter; Jupyter opens and runs the same files.
"""

import ast
import base64
import contextlib
import io
import json
import os
import re
import sys
import tempfile
import textwrap
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "tutorials"
SOLUTION = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOTEBOOK_LINK = re.compile(r"\]\((\w+)\.ipynb\)")  # to another tutorial, which is a page beside this one
COLOURS = 64  # of a stored picture: lines and shades keep their looks, and a file its size
DPI = 96
WIDTH = 78


def read(path):
    """Give the cells of a notebook."""
    return json.loads(Path(path).read_text(encoding="utf-8"))["cells"]


def source(cell):
    """Give the text of a cell, which may be kept line by line."""
    return "".join(cell["source"])


def executed(cells, choice=None, solutions=False):
    """Run the code of a notebook from top to bottom in an empty folder and one namespace.

    `choice` replaces the first cell of code, where the reader chooses the material; `solutions` are run too.

    Yields:
        For each cell of code its outputs, as a notebook holds them.
    """
    import matplotlib

    matplotlib.use("Agg")
    namespace = {"__name__": "__main__"}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for cell in cells:
            if cell["cell_type"] == "code":
                code, choice = source(cell) if choice is None else choice, None
                yield outputs(code, namespace)
            elif solutions:
                for code in SOLUTION.findall(source(cell)):
                    outputs(code, namespace)


def outputs(code, namespace):
    """Run one cell: what it prints, its warnings, the value of its last line, and its pictures."""
    body = ast.parse(code).body
    last = ast.Expression(body.pop().value) if body and isinstance(body[-1], ast.Expr) else None
    out, err = io.StringIO(), io.StringIO()
    made = []
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = lambda message, kind, *_, **__: print(f"{kind.__name__}: {message}", file=sys.stderr)
        exec(compile(ast.Module(body, []), "cell", "exec"), namespace)
        value = eval(compile(last, "cell", "eval"), namespace) if last is not None else None
    for name, text in (("stdout", out.getvalue()), ("stderr", err.getvalue())):
        if text:
            made.append({"output_type": "stream", "name": name, "text": text.splitlines(keepends=True)})
    pictures = [drawn(number) for number in _plt().get_fignums()]
    if value is not None and not code.rstrip().endswith(";"):
        lines = str(value).splitlines(keepends=True)
        made.append({"output_type": "execute_result", "metadata": {}, "data": {"text/plain": lines}})
    return made + [
        {"output_type": "display_data", "metadata": {}, "data": {"image/png": p, "text/plain": ["<Figure>"]}}
        for p in pictures
    ]


def _plt():
    import matplotlib.pyplot as plt

    return plt


def drawn(number):
    """Close a figure of pyplot and give it as PNG of few colours, in base64."""
    from PIL import Image

    plain, small = io.BytesIO(), io.BytesIO()
    figure = _plt().figure(number)
    figure.savefig(plain, dpi=DPI, bbox_inches="tight")
    _plt().close(figure)
    picture = Image.open(plain).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    picture.save(small, "PNG", optimize=True)
    return base64.b64encode(small.getvalue()).decode()


def store(path):
    """Run a notebook and write its outputs into it."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, (cell, made) in enumerate(zip(code, executed(notebook["cells"]), strict=True), 1):
        for output in made:
            if output["output_type"] == "execute_result":
                output["execution_count"] = number
        cell["outputs"], cell["execution_count"] = made, number
    text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8")
    print(f"{path.name}: {len(code)} cells, {len(text.encode()) / 1000:.0f} kB")


def page(path):
    """Turn a notebook into the text of a page, and its pictures by their addresses beside it."""
    text, pictures = [], {}
    for cell in read(path):
        if cell["cell_type"] == "markdown":
            text.append(NOTEBOOK_LINK.sub(r"](\1.md)", source(cell)))
            continue
        text.append(f"```python\n{source(cell)}\n```")
        for output in cell["outputs"]:
            picture = output.get("data", {}).get("image/png")
            if picture:
                name = f"{path.stem}-{len(pictures) + 1}.png"
                pictures[name] = base64.b64decode("".join(picture))
                text.append(f"![What the code above draws]({name})")
            else:
                lines = "".join(output.get("text") or output["data"]["text/plain"]).splitlines()
                text.append("\n".join(["```text", *(part for line in lines for part in wrapped(line)), "```"]))
    text.append(f"*[This page as a notebook]({path.name}), to run with a material of your own.*")
    return "\n\n".join(text) + "\n", pictures


def wrapped(line):
    """Break a line of output that a page would hide the end of."""
    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.wrap(line, WIDTH, subsequent_indent=indent, drop_whitespace=True) or [""]


def on_files(files, config):
    """Add a page for each notebook, and its pictures; the notebook itself is there to be fetched."""
    from mkdocs.structure.files import File

    for path in sorted(FOLDER.glob("*.ipynb")):
        content, pictures = page(path)
        files.append(File.generated(config, f"tutorials/{path.stem}.md", content=content))
        for name, picture in pictures.items():
            files.append(File.generated(config, f"tutorials/{name}", content=picture))
    return files


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for file in [Path(name).resolve() for name in sys.argv[1:]] or sorted(FOLDER.glob("*.ipynb")):
        store(file)
