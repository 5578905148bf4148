"""Eleven faults, put into the core one at a time, and for each layer the geomstats test that must fall."""

from collections.abc import Callable
from dataclasses import dataclass, field

import jax.numpy as jnp

import riemgn as rg
from riemgn.geometry import curvature, geodesic, retraction
from riemgn.geometry.immersion import TangentFrame
from riemgn.geometry.interop.geomstats import to_geomstats


@dataclass(frozen=True)
class Mutant:
    """A fault: `put(monkeypatch)` makes it; `property`, `comparison`, `autograd` name the tests of the three layers that it must break.

    P and C tests are named by class and test, A tests by test.
    """

    put: Callable
    property: tuple[str, str] | None = None
    comparison: tuple[str, str] | None = None
    autograd: str | None = field(default=None)


def straight_exp(monkeypatch):
    """`exp(u) = w + J^+ u`: the term with the Christoffel symbols is missing."""
    monkeypatch.setattr(geodesic, "exp", lambda immersion, frame, u, rtol: frame.w + frame.coordinates(u))


def difference_log(monkeypatch):
    """`log` is the difference of the parameters."""

    def log(immersion, frame, other, rtol):
        return immersion.jac(frame.w) @ (other - frame.w), jnp.zeros(())

    monkeypatch.setattr(geodesic, "log", log)


def _field_with(monkeypatch, change):
    original = geodesic._field

    def changed(t, y, immersion):
        rates = original(t, y, immersion)
        return {**rates, "b": change(rates["b"])}

    monkeypatch.setattr(geodesic, "_field", changed)


def identity_transport(monkeypatch):
    """Transport leaves the coordinates of a vector as they are."""
    _field_with(monkeypatch, jnp.zeros_like)


def reversed_transport(monkeypatch):
    """Transport with the sign of its equation turned."""
    _field_with(monkeypatch, jnp.negative)


def biased_projection(monkeypatch):
    """The nearest point, with its parameters 1 % too far from the start."""
    original = retraction.nearest
    monkeypatch.setattr(
        retraction,
        "nearest",
        lambda immersion, z, start, tol: start + 1.01 * (original(immersion, z, start, tol) - start),
    )


def identity_projector(monkeypatch):
    """`P v = v`."""
    monkeypatch.setattr(TangentFrame, "tangent_part", lambda frame, v: v)


def oblique_projector(monkeypatch):
    """A projector on the tangent space along directions that are not normal to it."""

    def tangent_part(frame, v):
        orthogonal = frame.basis @ frame.components(v)
        rest = v - orthogonal
        return orthogonal + frame.basis @ jnp.full(frame.basis.shape[1], 0.3 * jnp.sum(rest))

    monkeypatch.setattr(TangentFrame, "tangent_part", tangent_part)


def reversed_curvature(monkeypatch):
    """`R(u, v) z` with the sign turned."""
    original = curvature.curvature
    monkeypatch.setattr(curvature, "curvature", lambda *arguments: -original(*arguments))


def doubled_christoffels(monkeypatch):
    """Twice the Christoffel symbols; geodesics do without them."""
    original = curvature.christoffels
    monkeypatch.setattr(curvature, "christoffels", lambda *arguments: 2 * original(*arguments))


def reversed_riemann_tensor(monkeypatch):
    """The Riemann tensor with its sign turned; the curvature operator does without it."""
    original = curvature.riemann_tensor
    monkeypatch.setattr(curvature, "riemann_tensor", lambda *arguments: -original(*arguments))


def unprojected_second_form(monkeypatch):
    """`II(u, v) = D^2 f[u, v]`, tangent part and all."""
    monkeypatch.setattr(curvature, "second_fundamental_tensor", curvature.second_derivative_tensor)


MUTANTS = {
    "exp without Christoffel term": Mutant(
        straight_exp, ("TestImageMetric", "dist_is_symmetric"), ("TestImageAgainstSphere", "exp_random"), "exp_random"
    ),
    "log = coordinate difference": Mutant(
        difference_log, ("TestImageMetric", "log_after_exp"), ("TestImageAgainstSphere", "log_random")
    ),
    "transport = identity": Mutant(
        identity_transport,
        ("TestChartMetric", "parallel_transport_ivp_norm"),
        ("TestChartAgainstSphere", "parallel_transport_ivp_random"),
    ),
    "transport with the sign turned": Mutant(
        reversed_transport,
        ("TestChartMetric", "parallel_transport_ivp_norm"),
        ("TestChartAgainstSphere", "parallel_transport_ivp_random"),
    ),
    "projection 1 % biased": Mutant(biased_projection, ("TestImage", "projection_belongs"), ("image", "projection")),
    "to_tangent = identity": Mutant(
        identity_projector,
        ("TestImageMetric", "parallel_transport_ivp_norm"),
        ("image", "to_tangent"),
        "second_fundamental_form_random",
    ),
    "oblique tangent projector": Mutant(
        oblique_projector, None, ("image", "to_tangent"), "second_fundamental_form_random"
    ),
    "curvature operator with the sign turned": Mutant(
        reversed_curvature, None, ("TestImageAgainstSphere", "curvature_random"), "curvature_random"
    ),
    "Christoffel symbols doubled": Mutant(
        doubled_christoffels, None, ("TestChristoffelsAgainstSphere", "christoffels_random"), "christoffels_random"
    ),
    "Riemann tensor with the sign turned": Mutant(reversed_riemann_tensor, None, None, "riemann_tensor_random"),
    "second form not projected": Mutant(unprojected_second_form, None, None, "second_fundamental_form_random"),
}


def fresh_sphere():
    """The sphere of the harness with a model of its own, so that nothing compiled for another sphere is used."""

    def model(params, x):
        polar, azimuth = params
        return jnp.stack([jnp.sin(polar) * jnp.cos(azimuth), jnp.sin(polar) * jnp.sin(azimuth), jnp.cos(polar)])

    problem = rg.Problem(model, jnp.array([1.4, jnp.pi]), jnp.ones((3, 1)), jnp.zeros(3))
    return to_geomstats(rg.OutputManifold(problem), radius=0.6)
