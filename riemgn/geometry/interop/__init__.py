"""Adapters between output manifolds and the manifolds of geomstats and pymanopt."""

from .geomstats import score_space as score_space, to_geomstats as to_geomstats
from .pymanopt import to_pymanopt as to_pymanopt
