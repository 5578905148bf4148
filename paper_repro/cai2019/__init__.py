"""Cai et al., arXiv:1905.11675v2: Gram-Gauss-Newton."""
