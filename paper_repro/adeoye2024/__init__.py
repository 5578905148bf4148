"""Items on GGN-SCORE: Adeoye, Petersen, Bemporad, arXiv:2404.14875, and its released code."""
