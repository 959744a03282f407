"""How Sphinx builds this documentation: `make docs`."""

from __future__ import annotations

from sphinx.application import Sphinx

project = "Robust compression benchmark"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["demo"]
html_theme = "furo"
html_title = project
html_copy_source = False
html_show_copyright = False
templates_path = ["templates"]

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
# Every reference must resolve, except to what other packages document.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!(benchmark|methods)\.).*")]

myst_heading_anchors = 3
# The boards are published beside the documentation: leaderboards/site/ as ../site/.
myst_url_schemes = {"http": None, "https": None, "boards": "../{{path}}#{{fragment}}"}
nb_execution_mode = "force"
nb_execution_raise_on_error = True


def link_boards(app: Sphinx, docname: str, source: list[str]) -> None:
    """Point links to the boards, which in the repository are in another folder, to where they are published."""
    source[0] = source[0].replace("](../leaderboards/", "](boards:")


def list_deviations(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Show the DEVIATION paragraphs of a docstring, which follow each other without blank lines, as a list."""
    shown, within = [], False
    for line in lines:
        begins = line.startswith("DEVIATION: ")
        if begins and not within:
            shown.append("")
        within = begins or (within and bool(line.strip()))
        shown.append(f"- {line}" if begins else f"  {line}" if within else line)
    lines[:] = shown


def setup(app: Sphinx) -> None:
    """Connect the two changes above."""
    app.connect("source-read", link_boards)
    app.connect("autodoc-process-docstring", list_deviations)
