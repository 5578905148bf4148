"""Trajectory: what a solve returns. The second waist: claims, plots and reports see nothing below it but the problem."""

import json
from typing import Any, TYPE_CHECKING

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .flow import AbstractFlow
from .linalg import extremes, FEWEST_ROWS, least_singular_value, range_norm_and_least, tridiagonal_of, where_or_compute
from .method import AbstractMethod
from .problem import Problem
from .result import result_name, RESULTS

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

# Of every curve over time: what it is, and its unit. Tables of one trajectory and of whole folders share names and words.
CURVES = {
    "losses": ("loss g(f)", "unit of the loss"),
    "grad_norms": ("norm of the Riemannian gradient |P grad g(f)|", "unit of the loss / unit of y"),
    "sigma_min": ("smallest non-zero singular value of J", "unit of y / unit of w"),
    "error": ("distance to the solve at a hundredth of the tolerances |f - f_tight|", "unit of y"),
}
TIME = ("time t of the flow", "time of the flow")


class Trajectory(eqx.Module):
    """A flow on a problem, sampled at `t` times.

    - `problem`, `flow`: what was solved; of `iterate` the flow is the method.
    - `ts`: times (t,), in the flow's own time; the last one is where the solve ended.
    - `params`: flat parameters (t, p); `problem.unflatten(params[i])` gives the PyTree.
    - `outputs`: `f(w_t)`, (t, n), evaluated from the parameters.
    - `losses`: `g(f(w_t))`, (t,).
    - `grad_norms`: `|P grad g(f(w_t))|`, (t,), the norm of the Riemannian gradient.
    - `sigma_min`: smallest non-zero singular value of `J(w_t)`, (t,): the one whose index is the rank at the start. Where n < p it is the root of an
        eigenvalue of `K`, right to a relative 1e-8, as long as `cond(K)` allows that (about 2e7 in float64), else by an SVD, right to `eps cond(J)`.
      It and `grad_norms` are NaN where the solve is matrix-free or `iterate` was asked for no spectra.
    - `error`: `|f(w_t) - f_tight(w_t)|` (t,) against a second solve at a hundredth of the tolerances; None unless asked for.
    - `result`: a member of `RESULTS`.
    - `stats`: steps, solver and why it was chosen, how the direction is solved at the start, tolerances, rank, condition number, seconds
        (compilation included), event time.
    - `interpolation`: continuous `w(t)` when the solve was asked for it (`dense=True`), else None.
    - `tight`: the solve at a hundredth of the tolerances that `error` was measured against, else None.
    """

    problem: Problem
    flow: AbstractFlow | AbstractMethod
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

    def evaluate(self, t: float) -> Float[Array, " p"]:
        """Flat parameters `w(t)` from the integrator's dense output.

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
        """The sentence that explains `status`."""
        return self.stats["message"]

    @property
    def succeeded(self) -> bool:
        """Whether the solve reached t1."""
        return result_name(self.result) == "successful"

    def arrays(self) -> dict[str, np.ndarray]:
        """The sampled quantities as NumPy arrays, for records."""
        names = ("ts", "params", "outputs", "losses", "grad_norms", "sigma_min", "error")
        return {name: np.asarray(getattr(self, name)) for name in names if getattr(self, name) is not None}

    def to_pandas(self) -> "pd.DataFrame":
        """The curves as a table: a row for each saved time, its index `time`; columns `losses`, `grad_norms`, `sigma_min`, and `error` if measured.

        >>> import riemgn as rg
        >>> list(rg.solve(rg.task.circle(), rg.GaussNewtonFlow(), t1=1.0, ts=[1.0]).to_pandas().columns)
        ['losses', 'grad_norms', 'sigma_min']
        """
        import pandas as pd

        arrays = self.arrays()
        return pd.DataFrame(
            {name: arrays[name] for name in CURVES if name in arrays}, index=pd.Index(arrays["ts"], name="time")
        )

    def to_xarray(self) -> "xr.Dataset":
        """Everything sampled as one labelled data set, which `to_netcdf` writes as it is.

        Dimensions: `time`, with the times as its coordinate; `output`, numbered; `parameter`, numbered, with the coordinate `leaf` that names the
        leaf of the PyTree each number lies in. Variables, under the names of the trajectory: `losses`, `grad_norms`, `sigma_min` (t,), `error` if
        measured, `outputs` (t, n), `params` (t, p), each with `long_name` and `units`; of `iterate` what `stats["per_step"]` holds, over `step`.
        Attributes, in types that netCDF stores: `flow`, `settings` (the flow as it was given), `result`, `n`, `p`, and `stats`: truth as 0 or 1,
        lists and tables as JSON, without what is None.

        >>> import riemgn as rg
        >>> curves = rg.solve(rg.task.circle(), rg.GaussNewtonFlow(), t1=1.0, ts=[0.0, 0.5, 1.0]).to_xarray()
        >>> curves["outputs"].dims, curves.attrs["result"], curves["losses"].sel(time=0.5).ndim
        (('time', 'output'), 'successful', 0)
        """
        import xarray as xr

        arrays = self.arrays()
        curves = {name: (("time",), arrays[name], labels(*CURVES[name])) for name in CURVES if name in arrays}
        steps = {
            name: (("step",), value, {"long_name": f"{name} of each step"})
            for name, value in self.stats.get("per_step", {}).items()
        }
        return xr.Dataset(
            {
                **steps,
                **curves,
                "outputs": (("time", "output"), arrays["outputs"], labels("outputs f(w)", "unit of y")),
                "params": (("time", "parameter"), arrays["params"], labels("parameters w", "unit of w")),
            },
            coords={
                "time": ("time", arrays["ts"], labels(*TIME)),
                "output": ("output", np.arange(self.problem.n), {"long_name": "row of the outputs"}),
                "parameter": ("parameter", np.arange(self.problem.p), {"long_name": "place in the flat parameters"}),
                "leaf": ("parameter", _leaf_names(self.problem.params), {"long_name": "leaf of the parameter PyTree"}),
            },
            attrs=self._attributes(),
        )

    def _attributes(self) -> dict[str, Any]:
        settings = eqx.tree_pformat(self.flow, short_arrays=False, width=10_000)
        said = {
            "flow": self.flow.name,
            "settings": settings,
            "result": result_name(self.result),
            "n": self.problem.n,
            "p": self.problem.p,
        }
        for name, value in self.stats.items():
            if name == "per_step" or value is None:
                continue
            said[name] = (
                int(value)
                if isinstance(value, bool)
                else json.dumps(value)
                if isinstance(value, list | dict)
                else value
            )
        return said

    def __str__(self) -> str:
        name = result_name(self.result)
        return (
            f"{self.flow.name} flow, n = {self.problem.n}, p = {self.problem.p}: loss {float(self.losses[0]):.6g} -> {float(self.losses[-1]):.6g} "
            f"at t = {float(self.ts[-1]):.6g} in {self.stats['num_steps']} steps of {self.stats['solver']}; {name}"
        )


def labels(long_name: str, units: str) -> dict[str, str]:
    """The attributes by which xarray names an axis."""
    return {"long_name": long_name, "units": units}


def _leaf_names(params: Any) -> np.ndarray:
    """For each of the flat parameters (p,) the path of its leaf, such as `[0]['weight']`."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return np.repeat([jax.tree_util.keystr(path) for path, _ in leaves], [leaf.size for _, leaf in leaves])


class SolveError(RuntimeError):
    """A solve that ended in numerical trouble. `trajectory` holds everything up to that time."""

    trajectory: Trajectory

    def __init__(self, trajectory: Trajectory):
        self.trajectory = trajectory

    def __str__(self) -> str:
        end = float(self.trajectory.ts[-1])
        return f"{self.trajectory.stats['message']} (stopped at t = {end:.6g}; pass throw=False to get the trajectory)"


def sample(problem: Problem, params: Float[Array, "t p"], rank: Array, spectra: bool) -> dict[str, Array]:
    """The quantities of a `Trajectory` at each row of `params`, one point at a time so that only one Jacobian is held.

    Without `spectra` no Jacobian is formed: `grad_norms` and `sigma_min` are NaN. Of wide Jacobians of `FEWEST_ROWS` rows and more the least singular
    values are searched for at all points at once, in a third of the time or less where n is about a hundred.
    """

    def outputs_at(w):
        f = problem.outputs(w)
        unknown = jnp.asarray(jnp.nan, f.dtype)
        return {"outputs": f, "losses": problem.loss(f, problem.y), "grad_norms": unknown, "sigma_min": unknown}

    def at(w):
        point = problem.linearise(w, formed=False)
        grad_norm, least = range_norm_and_least(point.jac, point.loss_gradient, rank)
        return {
            "outputs": point.outputs,
            "losses": problem.loss(point.outputs, problem.y),
            "grad_norms": grad_norm,
            "sigma_min": least,
        }

    if spectra and FEWEST_ROWS <= problem.n < problem.p:
        return _sample_wide(problem, params, rank)
    return jax.lax.map(at if spectra else outputs_at, params)


def _sample_wide(problem: Problem, params: Float[Array, "t p"], rank: Array) -> dict[str, Array]:
    def reduced(w):
        point = problem.linearise(w, formed=False)
        quantities = {
            "outputs": point.outputs,
            "losses": problem.loss(point.outputs, problem.y),
            "grad_norms": jnp.linalg.norm(point.loss_gradient),
        }
        return quantities, tridiagonal_of(point.jac)

    def least(each):
        w, grad_norm, found = each

        def ordinary():
            point = problem.linearise(w, formed=False)
            return range_norm_and_least(point.jac, point.loss_gradient, rank)

        value, sound = least_singular_value(found, lambda: problem.linearise(w, formed=False).jac, problem.n)
        return where_or_compute(sound & (rank == problem.n), (grad_norm, value), ordinary)

    quantities, tridiagonals = jax.lax.map(reduced, params)
    grad_norms, sigma_min = jax.lax.map(least, (params, quantities["grad_norms"], jax.vmap(extremes)(*tridiagonals)))
    return quantities | {"grad_norms": grad_norms, "sigma_min": sigma_min}
