"""Sphinx settings; ``make docs`` builds with every warning as an error."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from docutils import nodes

from airflow_provider_b24cal import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

# Airflow writes its settings into its home when it is imported, and autodoc imports it.
_HOME = tempfile.mkdtemp(prefix="b24cal-docs-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
os.environ.update(AIRFLOW_HOME=_HOME, AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{_HOME}/airflow.db")

sys.path.insert(0, str(Path(__file__).with_name("_ext")))
# For the table of faults, which the tests run and a page prints.
sys.path.append(str(Path(__file__).parents[1]))

project = "airflow-provider-b24cal"
author = "The authors of airflow-provider-b24cal"
project_copyright = author
version = release = __version__

extensions = ["sphinx.ext.autodoc", "sphinx_copybutton", "attendance_schema", "error_tables", "fault_matrix"]
exclude_patterns = ["_build"]
highlight_language = "python"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
add_module_names = False
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"{project} {release}"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_js_files = ["sidebar.js"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_show_sourcelink = False
pygments_style = "tango"
pygments_dark_style = "monokai"
# What is printed (blocks of ``text``) is nothing to copy.
copybutton_selector = "div.highlight:not(.highlight-text div) > pre"


def _without_marks(_app: Sphinx, page: nodes.document) -> None:
    """Leave out of code the lines between which other pages show a part of it."""
    for block in page.findall(nodes.literal_block):
        block.rawsource = re.sub(r"(?m)^ *# \[(START|END) \w+\]\n?", "", block.astext())
        block.children = [nodes.Text(block.rawsource)]


def _from_the_top(_app: Sphinx, _what: str, _name: str, _obj: object, _options: object, lines: list[str]) -> None:
    """Let docstrings name pages without knowing in which folder the reference is."""
    lines[:] = [re.sub(r":doc:`(?=\w)", ":doc:`/", line) for line in lines]


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("doctree-read", _without_marks)
    app.connect("autodoc-process-docstring", _from_the_top)
