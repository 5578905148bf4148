"""Items on Gram-Gauss-Newton: Cai et al., arXiv:1905.11675v2."""
