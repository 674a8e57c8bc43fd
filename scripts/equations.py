"""A hook of mkdocs: equations of the pages, `$…$` and `$$…$$`, as MathML, which browsers set without scripts.

pymdownx.arithmatex marks the equations; what the translation does not know stops the build.
"""

import html
import re

from latex2mathml.converter import convert

EQUATION = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.+?)\\[)\]]</\1>', re.DOTALL)


def mathml(equation, page):
    """Set one equation; a command that no symbol stands for would be printed as it is, and is refused."""
    display = "block" if equation[2] == "[" else "inline"
    element = convert(html.unescape(equation[3]).strip(), display=display)
    if unknown := re.findall(r"\\[A-Za-z]+", element):
        raise ValueError(f"{page}: {', '.join(unknown)} in {equation[3]!r} is no LaTeX that latex2mathml can set")
    return f'<div style="overflow-x: auto">{element}</div>' if display == "block" else element


def set_equations(content, page):
    """Set all equations of a page."""
    return EQUATION.sub(lambda equation: mathml(equation, page), content)


def on_page_content(content, page, **_):
    """Set the equations of a page that mkdocs has made."""
    return set_equations(content, page.file.src_path)
