"""Trajectory, the result of `solve`, `iterate` and flows on an output manifold; SolveError."""

import html
import json
import textwrap
from dataclasses import dataclass
from typing import Any, TYPE_CHECKING

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ._validation import is_traced
from .flow import AbstractFlow
from .linalg import (
    extreme_eigenvalues,
    MIN_ROWS,
    min_singular_value,
    range_norm_and_min,
    tridiagonal_of,
    where_or_compute,
)
from .method import AbstractMethod
from .problem import Problem
from .result import EXPECTED, result_name, RESULTS, SUCCEEDED

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

# Meaning and unit of each curve over time, for tables of one trajectory and of whole folders.
CURVES = {
    "losses": ("loss g(f)", "unit of the loss"),
    "grad_norms": ("norm of the Riemannian gradient |P grad g(f)|", "unit of the loss / unit of y"),
    "sigma_min": ("smallest non-zero singular value of J", "unit of y / unit of w"),
    "error": ("distance to the solve at a hundredth of the tolerances |f - f_tight|", "unit of y"),
}
TIME = ("time t of the flow", "time of the flow")


@dataclass(frozen=True)
class ManifoldMethod:
    """The `flow` of a trajectory that was computed on an output manifold.

    - `name`: short name for tables and legends, such as `"riemannian flow"`.
    - `variant`: the integrator or the step rule, such as `"rk4"` or `"armijo"`.
    - `retraction`: name of the retraction, or None if the method uses none.
    """

    name: str
    variant: str
    retraction: str | None = None


class Trajectory(eqx.Module):
    """A flow or a method on a problem, sampled at `t` times.

    Attributes:

    - `problem`, `flow`: what was solved. `flow` is the method for `iterate`, and a `ManifoldMethod`
      for `riemannian_flow`, `output_flow` and `riemannian_gradient_descent`.
    - `ts`: times (t,), in the flow's own time. The last one is where the solve ended. For discrete
      methods they are the sums of the step sizes.
    - `params`: flat parameters (t, p). `problem.unflatten(params[i])` gives the PyTree.
    - `outputs`: `f(w_t)`, (t, n).
    - `losses`: `g(f(w_t))`, (t,).
    - `grad_norms`: `|P grad g(f(w_t))|`, (t,), the norm of the Riemannian gradient.
    - `sigma_min`: smallest non-zero singular value of `J(w_t)`, (t,), where the rank at the start
      decides which one. On a damped output manifold `J` is the Jacobian of the graph. If `n < p` it
      is the root of an eigenvalue of `K` with relative error 1e-8 while `cond(K)` is below about
      2e7 (float64), and comes from an SVD otherwise. `sigma_min` and `grad_norms` are NaN for a
      matrix-free solve, and for `iterate` with `spectra=False`.
    - `error`: `|f(w_t) - f_tight(w_t)|`, (t,), against a second solve at a hundredth of the
      tolerances. None unless you passed `error=True`.
    - `result`: a member of `RESULTS`, for use inside `jit`. `status` is its name.
    - `stats`: number of steps, solver and the reason for choosing it, tolerances, rank, condition
      number, seconds (with compilation), event time. `stats["per_step"]` holds arrays (steps,).
      `output_flow` adds `drift` and `distance`, the largest `|psi - f(w)|` over the saved times for
      the integrated `w` and for the parameters of the nearest point.
    - `interpolation`: continuous `w(t)` if you passed `dense=True`, else None.
    - `tight`: the solve that `error` was measured against, else None.
    - `points`: ambient points (t, m) for flows on an output manifold, else None. They differ from
      `outputs` on a damped manifold, where m = n + p. For `output_flow` they are the integrated
      states, and `outputs` are their first n components.
    """

    problem: Problem
    flow: AbstractFlow | AbstractMethod | ManifoldMethod
    ts: Float[Array, " t"]
    params: Float[Array, "t p"]
    outputs: Float[Array, "t n"]
    losses: Float[Array, " t"]
    grad_norms: Float[Array, " t"]
    sigma_min: Float[Array, " t"]
    error: Float[Array, " t"] | None
    result: RESULTS
    stats: dict[str, Any]
    interpolation: Any = None
    tight: "Trajectory | None" = None
    points: Float[Array, "t m"] | None = None

    def evaluate(self, t: float) -> Float[Array, " p"]:
        """Evaluate the flat parameters `w(t)` from the integrator's dense output.

        Raises: `ValueError` without dense output, or for a time outside the trajectory.
        """
        if self.interpolation is None:
            raise ValueError("This trajectory has no dense output; solve with dense=True.")
        start, end = float(self.ts[0]), float(self.ts[-1])
        if not start <= float(t) <= end:
            raise ValueError(f"`t` must lie in [{start:g}, {end:g}], got {t}.")
        return self.interpolation.evaluate(t)["w"]

    @property
    def status(self) -> str:
        """Why the solve stopped, as text: `"successful"`, `"rank_lost"`, `"step_limit"`, ..."""
        return result_name(self.result)

    @property
    def message(self) -> str:
        """The sentence that explains `status`.

        >>> import riemgn as rg
        >>> rg.solve(rg.task.circle(), rg.GaussNewtonFlow(), t1=5.0).message
        'The flow reached t1 = 5.'
        """
        if sentence := str(RESULTS[self.result]):
            return sentence
        if isinstance(self.flow, AbstractMethod):
            return f"All {self.stats['num_steps']} steps were taken."
        return f"The flow reached t1 = {float(self.ts[-1]):.6g}."

    @property
    def succeeded(self) -> bool:
        """Whether the solve reached t1, took all its steps, or met its gradient tolerance."""
        return self.status in SUCCEEDED

    @property
    def description(self) -> str:
        """One line with the flow, the sizes, the loss at both ends, the steps and the status."""
        name = f"{self.flow.name} flow" if isinstance(self.flow, AbstractFlow) else self.flow.name
        return (
            f"{name}, n = {self.problem.n}, p = {self.problem.p}: loss {float(self.losses[0]):.6g} -> "
            f"{float(self.losses[-1]):.6g} at t = {float(self.ts[-1]):.6g} in {self._steps()}; {self.status}"
        )

    def _steps(self) -> str:
        solver = "" if isinstance(self.flow, AbstractMethod) else f" ({self.stats['solver']})"
        return f"{self.stats['num_steps']} steps{solver}"

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the sampled quantities as NumPy arrays, without missing ones."""
        names = ("ts", "params", "outputs", "losses", "grad_norms", "sigma_min", "error", "points")
        return {name: np.asarray(getattr(self, name)) for name in names if getattr(self, name) is not None}

    def to_pandas(self) -> "pd.DataFrame":
        """Return the curves as a table with one row per saved time and the index `time`.

        The columns are `losses`, `grad_norms`, `sigma_min`, and `error` if it was measured.

        >>> import riemgn as rg
        >>> traj = rg.solve(rg.task.circle(), rg.GaussNewtonFlow(), t1=1.0, ts=[1.0])
        >>> list(traj.to_pandas().columns)
        ['losses', 'grad_norms', 'sigma_min']
        """
        import pandas as pd

        arrays = self.arrays()
        return pd.DataFrame(
            {name: arrays[name] for name in CURVES if name in arrays}, index=pd.Index(arrays["ts"], name="time")
        )

    def to_xarray(self) -> "xr.Dataset":
        """Return everything sampled as one labelled data set that `to_netcdf` can write.

        - Dimensions: `time`, with the times as coordinate. `output`, numbered. `parameter`,
          numbered, with the coordinate `leaf` that names the leaf of the PyTree.
        - Variables: `losses`, `grad_norms`, `sigma_min` and `error` (t,), `outputs` (t, n),
          `params` (t, p), each with `long_name` and `units`; and `stats["per_step"]` over `step`.
        - Attributes: `flow`, `settings` (the arguments of the flow), `result`, `n`, `p` and
          `stats`. Booleans are 0 or 1, lists and dictionaries are JSON, and None is left out.

        >>> import riemgn as rg
        >>> traj = rg.solve(rg.task.circle(), rg.GaussNewtonFlow(), t1=1.0, ts=[0.0, 0.5, 1.0])
        >>> curves = traj.to_xarray()
        >>> curves["outputs"].dims, curves.attrs["result"], curves["losses"].sel(time=0.5).ndim
        (('time', 'output'), 'successful', 0)
        """
        import xarray as xr

        arrays = self.arrays()
        variables = {name: (("time",), arrays[name], labels(*CURVES[name])) for name in CURVES if name in arrays}
        variables |= {
            "outputs": (("time", "output"), arrays["outputs"], labels("outputs f(w)", "unit of y")),
            "params": (("time", "parameter"), arrays["params"], labels("parameters w", "unit of w")),
        }
        for name, value in self.stats.get("per_step", {}).items():
            variables[name] = (("step",), np.asarray(value), {"long_name": f"{name} of each step"})
        return xr.Dataset(
            variables,
            coords={
                "time": ("time", arrays["ts"], labels(*TIME)),
                "output": ("output", np.arange(self.problem.n), {"long_name": "row of the outputs"}),
                "parameter": ("parameter", np.arange(self.problem.p), {"long_name": "place in the flat parameters"}),
                "leaf": ("parameter", _leaf_names(self.problem.params), {"long_name": "leaf of the parameter PyTree"}),
            },
            attrs=self._attributes(),
        )

    def _attributes(self) -> dict[str, Any]:
        attributes = {
            "flow": self.flow.name,
            "settings": eqx.tree_pformat(self.flow, short_arrays=False, width=10_000),
            "result": self.status,
            "n": self.problem.n,
            "p": self.problem.p,
        }
        for name, value in self.stats.items():
            if isinstance(value, bool):
                attributes[name] = int(value)
            elif isinstance(value, list | dict) and name != "per_step":
                attributes[name] = json.dumps(value)
            elif value is not None and name != "per_step":
                attributes[name] = value
        return attributes

    def _rows(self) -> list[tuple[str, float, float]]:
        names = ("time", "loss", "gradient norm", "smallest singular value")
        curves = (self.ts, self.losses, self.grad_norms, self.sigma_min)
        return [(name, float(values[0]), float(values[-1])) for name, values in zip(names, curves, strict=True)]

    def _can_print(self) -> bool:
        """Whether this holds the numbers of one run, and not tracers, shapes or a batch."""
        return isinstance(self.ts, jax.Array | np.ndarray) and not is_traced(self.ts) and self.ts.ndim == 1

    def __repr__(self) -> str:
        return f"Trajectory({self.description})" if self._can_print() else eqx.tree_pformat(self)

    def __str__(self) -> str:
        if not self._can_print():
            return repr(self)
        head = [self.description.split(":")[0], *textwrap.wrap(f"{self.status}: {self.message}", 78)]
        table = [f"  {name:<24}{start:>14.6g}{end:>14.6g}" for name, start, end in self._rows()]
        steps = f"{self._steps()}, {self.ts.size} saved times"
        return "\n".join([*head, f"  {'':<24}{'start':>14}{'end':>14}", *table, *textwrap.wrap(steps, 78)])

    def _repr_html_(self) -> str:
        if not self._can_print():
            return f"<pre>{html.escape(repr(self))}</pre>"
        rows = "".join(
            f"<tr><th>{name}</th><td>{start:.6g}</td><td>{end:.6g}</td></tr>" for name, start, end in self._rows()
        )
        head = html.escape(self.description.split(":")[0])
        note = html.escape(f"{self.status}: {self.message}")
        return f"<table><caption>{head}. {note}</caption><tr><th></th><th>start</th><th>end</th></tr>{rows}</table>"


def labels(long_name: str, units: str) -> dict[str, str]:
    """The attributes by which xarray names an axis."""
    return {"long_name": long_name, "units": units}


def _leaf_names(params: Any) -> np.ndarray:
    """For each of the flat parameters (p,) the path of its leaf, such as `[0]['weight']`."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return np.repeat([jax.tree_util.keystr(path) for path, _ in leaves], [leaf.size for _, leaf in leaves])


class SolveError(RuntimeError):
    """A solve ended in numerical trouble. `trajectory` holds everything up to that time."""

    trajectory: Trajectory

    def __init__(self, trajectory: Trajectory):
        self.trajectory = trajectory

    def __str__(self) -> str:
        end = float(self.trajectory.ts[-1])
        return f"{self.trajectory.message} (stopped at t = {end:.6g}; pass throw=False to get the trajectory)"


def raise_unless_expected(trajectory: Trajectory, throw: bool, expected: tuple[str, ...] = EXPECTED) -> Trajectory:
    """Return the trajectory. Raise `SolveError` if `throw` and its status is not in `expected`."""
    if throw and trajectory.status not in expected:
        raise SolveError(trajectory)
    return trajectory


def sample(problem: Problem, params: Float[Array, "t p"], rank: Array, spectra: bool) -> dict[str, Array]:
    """Evaluate the quantities of a `Trajectory` at each row of `params`.

    Points are evaluated one at a time, so that only one Jacobian is in memory. Without `spectra` no
    Jacobian is formed, and `grad_norms` and `sigma_min` are NaN.
    """

    def outputs_at(w):
        f = problem.outputs(w)
        unknown = jnp.asarray(jnp.nan, f.dtype)
        return {"outputs": f, "losses": problem.loss(f, problem.y), "grad_norms": unknown, "sigma_min": unknown}

    def spectra_at(w):
        point = problem.linearise(w, formed=False)
        grad_norm, sigma = range_norm_and_min(point.jac, point.loss_gradient, rank)
        loss = problem.loss(point.outputs, problem.y)
        return {"outputs": point.outputs, "losses": loss, "grad_norms": grad_norm, "sigma_min": sigma}

    if spectra and MIN_ROWS <= problem.n < problem.p:
        return _sample_wide(problem, params, rank)
    return jax.lax.map(spectra_at if spectra else outputs_at, params)


def _sample_wide(problem: Problem, params: Float[Array, "t p"], rank: Array) -> dict[str, Array]:
    """For many rows one search for all singular values takes at most a third of the time."""

    def reduce(w):
        point = problem.linearise(w, formed=False)
        loss, norm = problem.loss(point.outputs, problem.y), jnp.linalg.norm(point.loss_gradient)
        return {"outputs": point.outputs, "losses": loss, "grad_norms": norm}, tridiagonal_of(point.jac)

    def spectra_of(row):
        w, grad_norm, bounds = row

        def from_svd():
            point = problem.linearise(w, formed=False)
            return range_norm_and_min(point.jac, point.loss_gradient, rank)

        value, sound = min_singular_value(bounds, lambda: problem.linearise(w, formed=False).jac, problem.n)
        return where_or_compute(sound & (rank == problem.n), (grad_norm, value), from_svd)

    quantities, tridiagonals = jax.lax.map(reduce, params)
    rows = (params, quantities["grad_norms"], jax.vmap(extreme_eigenvalues)(*tridiagonals))
    grad_norms, sigma_min = jax.lax.map(spectra_of, rows)
    return quantities | {"grad_norms": grad_norms, "sigma_min": sigma_min}
