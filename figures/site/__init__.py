"""The documentation's site; `python -m figures.site` builds it."""
