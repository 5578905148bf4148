"""Items for the claims of three papers. Run them with `riemgn reproduce`."""
