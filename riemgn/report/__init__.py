"""Write one HTML page for a folder of results, with every verdict recomputed from its numbers."""

from .page import Report as Report, write_report as write_report
