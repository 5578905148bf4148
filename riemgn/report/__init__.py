"""One page of a folder of results, redrawn from what is stored; computes nothing but counts and medians, and re-reads every verdict."""

from .page import Report as Report, write_report as write_report
