"""The experiments made for the claims of papers, one folder a paper; `riemgn reproduce` runs them."""
