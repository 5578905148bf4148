"""Drivers: integrate flows, iterate methods, and distribute a problem over devices."""

from .batch import batch_key as batch_key, solve_batch as solve_batch
from .iterate import iterate as iterate
from .sharding import shard as shard
from .solve import solve as solve
