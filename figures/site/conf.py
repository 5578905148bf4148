"""Sphinx: what `python -m figures.site` builds from pages/ and from the pages it writes. Nothing here needs a network."""

from importlib.metadata import version as installed_version

project = "riemgn"
author = copyright = "riemgn developers"
version = release = installed_version("riemgn")

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "figures.site.docstrings"]
smartquotes = False  # `psi'` is a derivative

html_theme = "furo"
html_title = f"riemgn {release}"
html_show_sphinx = False
html_copy_source = False
html_static_path = ["static"]
html_css_files = ["site.css"]
html_theme_options = {"navigation_with_keys": True}

myst_enable_extensions = ["attrs_inline", "deflist"]
myst_heading_anchors = 3

nb_execution_mode = "force"  # every cell, at every build; -W makes an exception in one of them fatal
nb_execution_in_temp = True
nb_execution_timeout = 120
nb_execution_show_tb = True
nb_merge_streams = True
nb_ipywidgets_js = {}  # no widgets, so nothing of theirs is asked for on the web

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 100
python_use_unqualified_type_names = True
toc_object_entries = (
    False  # each page lists its names itself; in every page's sidebar they would cost a third of the build
)

nitpick_ignore_regex = [
    ("py:.*", r"(?!riemgn\.).*"),  # types of other packages have no page here
    # types that pass between the rooms and that nobody outside makes
    (
        "py:class",
        r"riemgn\.(model\.Weighted|linalg\.(extreme\.Extremes|lanes\.Found)|method\.batch\.Batch|theory\.rate\.Slope|geometry\.embedded\.AbstractEmbeddedChart)",
    ),
    ("py:class", r"riemgn\.experiment\.(grid\.(Grid|Cell)|chunk\.Built)"),
    ("py:class", r"riemgn\.(\w+\.)+_\w+"),
]
