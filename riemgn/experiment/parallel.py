"""One function over many arguments: here, in processes of this machine (joblib, loky), or on the workers of a dask scheduler."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, ExitStack
from typing import Any, cast

from .._signals import heeded_interrupts, leave_interrupts_to_the_first

ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
CONNECT = 20.0  # seconds until a scheduler has answered


class WorkerDiedError(RuntimeError):
    """A process that worked for us ended without a word: killed, or out of memory."""


def side_by_side(
    function: Callable[..., Any], arguments: Iterable[tuple], jobs: int = 1, scheduler: str | None = None
) -> Iterator[Any]:
    """`function(*each)` of all arguments, each result as it is done; with one job and no scheduler here and in order.

    Arguments are taken up as places get free, results are handed over one by one: neither piles up. The processes take over whether float64 is on,
    and compute with one thread each.

    Arguments:

    - `function`: what can be pickled by cloudpickle.
    - `jobs`: processes on this machine.
    - `scheduler`: address of a dask.distributed scheduler such as `"tcp://host:8786"`, whose workers then do the work.

    Raises: `WorkerDiedError`; `ValueError`, one sentence, for a scheduler that cannot be reached.
    """
    if jobs == 1 and scheduler is None:
        with heeded_interrupts() as heed:
            for each in arguments:
                try:
                    result = function(*each)
                finally:
                    heed()
                yield result
        return
    import jax
    from joblib import delayed, Parallel

    x64 = bool(jax.config.jax_enable_x64)  # pyright: ignore[reportAttributeAccessIssue]
    with ExitStack() as stack:
        backend = stack.enter_context(_local(jobs) if scheduler is None else _dask(scheduler))
        work = (delayed(_as_here)(x64, function, each) for each in arguments)
        try:
            pool = cast(Any, Parallel)(
                return_as="generator_unordered", batch_size=1, pre_dispatch="2*n_jobs", **backend
            )  # joblib states no types
            yield from pool(work)
        except BrokenProcessPool:
            raise WorkerDiedError("A worker process died, killed or out of memory") from None
        except Exception as trouble:
            if type(trouble).__name__ == "KilledWorker":  # of distributed, which may not be installed
                raise WorkerDiedError("A worker of the scheduler died again and again") from None
            raise


def _as_here(x64: bool, function: Callable[..., Any], arguments: tuple) -> Any:
    """In a process of its own, which knows nothing of the settings of the first."""
    if x64:
        from .._types import enable_x64

        enable_x64()
    return function(*arguments)


@contextmanager
def _local(jobs: int) -> Iterator[dict[str, Any]]:
    from joblib import parallel_config

    with (
        one_thread_each(),
        parallel_config(backend="loky", inner_max_num_threads=1, initializer=leave_interrupts_to_the_first),
    ):
        yield {"n_jobs": jobs}


@contextmanager
def _dask(address: str) -> Iterator[dict[str, Any]]:
    try:
        from distributed import Client
    except ImportError:
        raise ValueError("A scheduler needs dask.distributed: `pip install riemgn[cluster]`.") from None
    from joblib import parallel_config

    try:
        client = Client(address, timeout=CONNECT, set_as_default=True)
    except (OSError, TimeoutError, ValueError) as trouble:
        raise ValueError(f"The scheduler '{address}' cannot be reached: {type(trouble).__name__}.") from None
    with client, parallel_config(backend="dask"):
        yield {"n_jobs": -1}


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Processes started inside give XLA one thread, as they fill the cores by their number."""
    before = os.environ.get("XLA_FLAGS")
    os.environ["XLA_FLAGS"] = f"{before or ''} {ONE_THREAD}".strip()
    try:
        yield
    finally:
        if before is None:
            del os.environ["XLA_FLAGS"]
        else:
            os.environ["XLA_FLAGS"] = before


def duration(seconds: float) -> str:
    """Seconds in words, for the lines that tell of work under way.

    >>> duration(42), duration(150), duration(7500)
    ('42 s', '2 min 30 s', '2 h 05 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
