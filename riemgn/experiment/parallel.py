"""Apply a function to many arguments in this process, in other processes, or on dask workers."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, ExitStack
from typing import Any, cast

from .._signals import ignore_interrupts, recorded_interrupts

ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
CONNECT = 20.0  # seconds to wait for an answer of the scheduler


class WorkerDiedError(RuntimeError):
    """A worker process was killed, for example because the machine ran out of memory."""


def map_unordered(
    function: Callable[..., Any], arguments: Iterable[tuple], jobs: int = 1, scheduler: str | None = None
) -> Iterator[Any]:
    """Yield `function(*each)` for all arguments, each result as soon as it is finished.

    With one job and no scheduler, everything runs in this process and in order. Otherwise
    cloudpickle must be able to pickle `function`, and arguments are taken when one of the `jobs`
    processes or a worker of the dask.distributed scheduler at the address `scheduler` is free.
    Workers use the float precision of this process and one thread.

    Raises: `WorkerDiedError`; `ValueError` if the scheduler cannot be reached.
    """
    if jobs == 1 and scheduler is None:
        with recorded_interrupts() as reraise_interrupt:
            for each in arguments:
                try:
                    result = function(*each)
                finally:
                    reraise_interrupt()
                yield result
        return
    import jax
    from joblib import delayed, Parallel

    x64 = bool(jax.config.jax_enable_x64)  # pyright: ignore[reportAttributeAccessIssue]
    with ExitStack() as stack:
        backend = stack.enter_context(_processes(jobs) if scheduler is None else _dask(scheduler))
        work = (delayed(_call)(x64, function, each) for each in arguments)
        options = {"return_as": "generator_unordered", "batch_size": 1, "pre_dispatch": "2*n_jobs", **backend}
        try:
            yield from cast(Any, Parallel)(**options)(work)  # joblib has no type annotations
        except BrokenProcessPool:
            raise WorkerDiedError("A worker process was killed or ran out of memory") from None
        except Exception as error:
            if type(error).__name__ == "KilledWorker":  # of distributed, which is optional
                raise WorkerDiedError("A worker of the scheduler died several times") from None
            raise


def _call(x64: bool, function: Callable[..., Any], arguments: tuple) -> Any:
    """Call `function` in a worker, which does not share the settings of the main process."""
    if x64:
        from .._types import enable_x64

        enable_x64()
    return function(*arguments)


@contextmanager
def _processes(jobs: int) -> Iterator[dict[str, Any]]:
    from joblib import parallel_config

    with cast(Any, parallel_config)(backend="loky", inner_max_num_threads=1, initializer=_start_worker):
        yield {"n_jobs": jobs}


def _start_worker() -> None:
    """Set up a worker process before it uses XLA, which reads its flags then."""
    ignore_interrupts()
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {ONE_THREAD}".strip()


@contextmanager
def _dask(address: str) -> Iterator[dict[str, Any]]:
    try:
        from distributed import Client
    except ImportError:
        raise ValueError("A scheduler needs dask.distributed: `pip install riemgn[cluster]`.") from None
    from joblib import parallel_config

    try:
        client = Client(address, timeout=CONNECT, set_as_default=True)
    except (OSError, TimeoutError, ValueError) as error:
        raise ValueError(f"The scheduler '{address}' cannot be reached: {type(error).__name__}.") from None
    with client, parallel_config(backend="dask"):
        yield {"n_jobs": -1}


def duration(seconds: float) -> str:
    """Format seconds for a line of progress.

    >>> duration(42), duration(150), duration(7500)
    ('42 s', '2 min 30 s', '2 h 05 min')
    """
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
