"""Settings of Sphinx for `python -m figures.site`. The build needs no network."""

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

nb_execution_mode = "force"  # run every cell at every build; with -W an exception is fatal
nb_execution_in_temp = True
nb_execution_timeout = 120
nb_execution_show_tb = True
nb_merge_streams = True
nb_ipywidgets_js = {}  # there are no widgets, so nothing is loaded from the web

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 100
python_use_unqualified_type_names = True
toc_object_entries = False  # each page lists its names; in the sidebars they would cost a third of the build

nitpick_ignore_regex = [
    ("py:.*", r"(?!riemgn\.).*"),  # types of other packages have no page here
    ("py:class", r"riemgn\.((\w+\.)+_\w+|model\.Weighted)"),
    # internal types in signatures, which no user constructs
    ("py:class", r"riemgn\.(?!(problem|trajectory|result|loss|model)\.)(\w+)\.(\w+\.)+\w+"),
]
