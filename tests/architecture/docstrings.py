"""What a public docstring has to say: read from the source, so that decorators and compiled functions hide nothing.

The rule. Public is what carries no leading underscore: functions, classes, their methods. Each has a docstring whose
first paragraph is a sentence. `Source:` stands in it, in its class or in its module. An argument, field or result that
is a real number or an array of them names its unit: in its own entry where the docstring has an `Args:`, `Attributes:`
or `Returns:` section that lists it, else anywhere in the docstring or its class's. Integers, booleans and text have
none, and no words about it; an array of those says so in its annotation (`Int[Tensor, ...]`, `Bool[np.ndarray, ...]`).
An argument without an annotation counts as real, but for objects of a host, which are not imported for their names'
sake.
"""

import ast
import re

REAL = re.compile(
    r"\b(float|complex|Float\w*|Complex\w*|Real|Num|Inexact|Shaped|Tensor|ndarray|NDArray|ArrayLike|Array)\b"
)
COUNTS = re.compile(
    r"\b(Int\w*|UInt\w*|Bool|Integer)\[[\w.]+(\s*\|\s*[\w.]+)*,\s*('[^']*'|\"[^\"]*\")\]|\btorch\.dtype\b"
)
UNIT = re.compile(
    r"eV|Å|\bamu\b|\bK\b|\bfs\b|\bps\b|GPa|MPa|THz|cm⁻¹|J/|W/|/mol|%|\bseconds?\b|\bhours?\b|\bminutes?\b|\bbytes?\b"
    r"|\bMB\b|\bRy\b|[Dd]imensionless|\bunits?\b|\bdegrees?\b|\bradians?\b|\bflops?\b"
)
RITUAL = re.compile(r"[(;,] ?(names, |sizes |are )?([Dd]imensionless|no units?)[).]")
HOSTS = {"self", "cls", "calculator", "ph", "ctx", "context"}
"""Arguments without an annotation: ASE's calculator, phonopy's and phono3py's objects, contexts of torch and typer."""
SECTION = re.compile(r"^(Args|Attributes|Returns|Yields|Raises|Source|Example|Examples|Note):", re.MULTILINE)


def complaints(source):
    """Yield (line, name, what is missing) for a module's source text."""
    module = _without_aliases(ast.parse(source))
    sourced = "Source:" in (ast.get_docstring(module) or "")
    if not ast.get_docstring(module):
        yield 1, "module", "no docstring"
    for node in module.body:
        if not public(node):
            continue
        yield from _object(node, node.name, sourced, "")
        if isinstance(node, ast.ClassDef):
            text = ast.get_docstring(node) or ""
            for method in node.body:
                if public(method) and isinstance(method, ast.FunctionDef):
                    yield from _object(method, f"{node.name}.{method.name}", sourced or "Source:" in text, text)


class _Spelled(ast.NodeTransformer):
    """Puts what a module's own short names of types stand for in their places."""

    def __init__(self, aliases):
        self.aliases = aliases

    def visit_Name(self, node):
        return self.aliases.get(node.id, node)


def _names_an_array(value):
    return isinstance(value, ast.Subscript | ast.BinOp) and _real(value) and "Callable" not in ast.unparse(value)


def _without_aliases(module):
    aliases = {}
    for node in module.body:
        if isinstance(node, ast.Assign) and _names_an_array(node.value):
            aliases |= {target.id: _Spelled(aliases).visit(node.value) for target in node.targets}
    for node in ast.walk(module):
        for place in ("annotation", "returns"):
            if getattr(node, place, None) is not None:
                setattr(node, place, _Spelled(aliases).visit(getattr(node, place)))
    return module


def public(node):
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return isinstance(node, kinds) and not node.name.startswith("_")


def _object(node, name, sourced, class_text):
    text = ast.get_docstring(node)
    if not text:
        yield node.lineno, name, "no docstring"
        return
    if "." not in text.split("\n\n")[0]:
        yield node.lineno, name, "its first paragraph is no sentence"
    if not sourced and "Source:" not in text:
        yield node.lineno, name, "no `Source:`"
    reals = _reals(node)
    if isinstance(node, ast.FunctionDef) and not reals and RITUAL.search(text.split("\n\n")[0]):
        yield node.lineno, name, "words of units, where nothing is real"
    for quantity in reals:
        if not UNIT.search(_entry(text, quantity) or text + class_text):
            yield node.lineno, name, f"no unit of `{quantity}`"


def _reals(node):
    """Name the real-valued arguments and the result, or a class's real-valued fields."""
    if isinstance(node, ast.ClassDef):
        fields = [item for item in node.body if isinstance(item, ast.AnnAssign)]
        return [item.target.id for item in fields if _real(item.annotation) and not item.target.id.startswith("_")]
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    real = [a.arg for a in arguments if (_real(a.annotation) if a.annotation else a.arg not in HOSTS)]
    return real + ["Returns"] * _real(node.returns)


def _real(annotation):
    return annotation is not None and bool(REAL.search(COUNTS.sub("", ast.unparse(annotation))))


def _entry(text, quantity):
    """Find what a Google-style section says of one argument, field or of the result; None where it has no entry."""
    parts = SECTION.split(text)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    if quantity == "Returns":
        return sections.get("Returns") or sections.get("Yields")
    listed = rf"^ +(?:[\w*]+, )*{quantity}(?:, [\w*]+)*(?: \([^\n]*?\))?:(.*?)(?=^ +[\w*, ]+(?: \([^\n]*?\))?:|\Z)"
    for section in (sections.get("Args", ""), sections.get("Attributes", "")):
        if entry := re.search(listed, section, re.MULTILINE | re.DOTALL):
            return entry.group(1)
    return None
