"""Items on the claims of Cayci, arXiv:2412.14031v4."""
