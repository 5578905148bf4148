"""Adeoye, Petersen, Bemporad, arXiv:2404.14875: GGN-SCORE, as its released code describes it."""
