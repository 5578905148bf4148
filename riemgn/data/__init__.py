"""Data sets by name or from a file, and synthetic data with a prescribed condition number."""

from .dataset import DataSet as DataSet, load_data as load_data
from .sources import DATASETS as DATASETS, DataUnavailableError as DataUnavailableError
from .synthetic import (
    add_noise as add_noise,
    conditioned_matrix as conditioned_matrix,
    near_duplicates as near_duplicates,
    synthetic_inputs as synthetic_inputs,
)
