"""Bounds of the output manifold's checks and choices, and steps of its solvers in closed form: on both sides of every threshold."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import riemgn as rg
from riemgn.geometry import geodesic, GeometryError, OutputManifold
from riemgn.geometry.charts import (
    CayleyChart,
    CholeskyChart,
    Constrained,
    embedded_problem,
    from_geomstats,
    HyperboloidChart,
)
from riemgn.geometry.geodesic import default_tolerance, log
from riemgn.geometry.interop.geomstats_import import load
from riemgn.geometry.rank import choose_rank, describe_policy, rank_report, relative_threshold
from riemgn.geometry.retraction import descend, ExponentialRetraction, newton_step, ProjectionRetraction
from riemgn.loss import PseudoHuberLoss

EPS = float(np.finfo(float).eps)


def manifold_of(model, start, outputs, **options) -> OutputManifold:
    return OutputManifold(rg.Problem(model, jnp.array(start), jnp.zeros((outputs, 1)), jnp.zeros(outputs)), **options)


PLANE = manifold_of(lambda w, x: jnp.stack([w[0], 2 * w[1], 0 * w[0]]), [1.0, 1.0], 3)
CIRCLE = manifold_of(lambda w, x: jnp.stack([jnp.cos(w[0]), jnp.sin(w[0])]), [0.5], 2)
UP = np.array([0.0, 0.0, 1.0])

# --- rank ------------------------------------------------------------------------------------------------------------


def test_a_rank_counts_what_lies_above_its_threshold():
    limit = 7 * EPS * 4.0
    for shape in ((7, 3), (3, 7)):
        assert [choose_rank(np.array([4.0, 1.0, least]), shape, None) for least in (limit, np.nextafter(limit, 1))] == [
            2,
            3,
        ]
        assert [choose_rank(np.array([4.0, 1.0, least]), shape, "full") for least in (np.nextafter(limit, 1), 1.0)] == [
            3,
            3,
        ]
    s = np.array([4.0, 1.0, 0.5])
    assert [choose_rank(s, (7, 3), policy) for policy in (0.25, 0.2499, np.float64(0.125), 0.1, 1, np.int64(2), 3)] == [
        1,
        2,
        2,
        3,
        1,
        2,
        3,
    ]
    assert (
        relative_threshold(np.float32(0.5), (7, 3), EPS) == 0.5
        and relative_threshold(2, (3, 7), EPS) == relative_threshold(None, (7, 3), EPS) == 7 * EPS
    )


@pytest.mark.parametrize(("policy", "words"), [
    (None, "numerical (max(m, p) eps s_max)"), ("full", "full"), (3, "integer 3"), (np.int32(1), "integer 1"), (0.25, "relative tolerance 0.25"),
    (np.float64(1e-3), "relative tolerance 0.001"),
])  # fmt: skip
def test_policies_in_words(policy, words):
    assert describe_policy(policy) == words


@pytest.mark.parametrize(("policy", "message"), [
    (0, "at least 1, got 0"), (-2, "at least 1, got -2"), (0.0, r"in \(0, 1\), got 0.0"), (1.0, r"in \(0, 1\), got 1.0"), (np.nan, "got nan"),
    ("most", "got 'most'"), (True, "got True"), ([1], r"got \[1\]"),
])  # fmt: skip
def test_policies_that_are_none(policy, message):
    with pytest.raises(ValueError, match=message):
        describe_policy(policy)


def test_more_than_there_is_cannot_be_kept():
    s = np.array([4.0, 1.0, 0.0])
    for policy, message in (
        (4, r"at most min\(m, p\) = 3, got 4"),
        (3, "integer 3 asks for 3 .* number 3 is 0 beside a largest of 4"),
        ("full", "number 3"),
    ):
        with pytest.raises(ValueError, match=message):
            choose_rank(s, (7, 3), policy)
    with pytest.raises(ValueError, match=r"vanishes \(largest singular value 0\)"):
        choose_rank(0 * s, (7, 3), 1)


def test_a_report_of_what_was_kept():
    s = np.array([4.0, 1.0, 0.5])
    whole, part, lost = (
        rank_report(s, (7, 3), None, 3),
        rank_report(s, (7, 3), 0.25, 2),
        rank_report(np.array([4.0, 1.0, 0.0]), (7, 3), "full", 3),
    )
    assert (whole.kept, whole.dropped, whole.cond, whole.threshold) == (
        (4.0, 1.0, 0.5),
        (),
        8.0,
        28 * EPS,
    ) and whole.is_regular
    assert (part.kept, part.dropped, part.cond, part.threshold) == (
        (4.0, 1.0),
        (0.5,),
        4.0,
        1.0,
    ) and not part.is_regular  # at the threshold
    assert lost.cond == np.inf and not lost.is_regular
    assert str(part) == "rank policy relative tolerance 0.25: kept 2 singular values from 4 to 1 (cond 4); dropped 1, the largest 0.5; " \
        "singular point: the smallest kept lies below the threshold 1"  # fmt: skip
    assert str(whole).endswith("kept 3 singular values from 4 to 0.5 (cond 8); dropped none")


# --- points and vectors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("factor", "taken"), [(0.999, True), (1.001, False)])
def test_points_and_vectors_lie_on_the_manifold_to_their_tolerance(factor, taken):
    point, vector, w = np.array([1.0, 2.0, 0.0]), np.array([3.0, 4.0, 0.0]), PLANE.problem.w0
    for atol, options in ((1e-8, {}), (0.5, {"atol": 0.5})):
        off = factor * atol * UP
        assert (
            bool(PLANE.belongs(point + off, **options)) is bool(PLANE.is_tangent(w, vector + off, **options)) is taken
        )
        if taken:
            assert PLANE.point(point + off, **options) == pytest.approx([1.0, 1.0])
        else:
            with pytest.raises(ValueError, match="off the sheet through the start, more than"):
                PLANE.point(point + off, **options)
    slanted = vector + factor * 10 * EPS**0.5 * 5.0 * UP
    if taken:
        assert PLANE.exp(w, slanted) == pytest.approx([4.0, 3.0])
    else:
        with pytest.raises(ValueError, match=r"`u` is not tangent: its normal part is 1\.49e-07 of its length"):
            PLANE.exp(w, slanted)


@pytest.mark.parametrize(("factor", "regular"), [(1.01, True), (0.99, False)])
def test_a_chart_is_singular_at_its_rounding_error(factor, regular):
    """`psi = (w_1, w_2^2, 0)`: the ratio `2 w_2` of the singular values must exceed `max(m, p) eps`."""
    manifold = manifold_of(lambda w, x: jnp.stack([w[0], w[1] ** 2, 0 * w[0]]), [1.0, 1.0], 3)
    at = jnp.array([1.0, factor * 3 * EPS / 2])
    if regular:
        assert manifold.to_tangent(at, UP + 1) == pytest.approx([1.0, 1.0, 0.0])
    else:
        with pytest.raises(
            ValueError, match=r"of the 2 singular values kept the smallest is 6\.59e-16 beside a largest of 1\."
        ):
            manifold.to_tangent(at, UP + 1)


def test_times_and_tolerances_of_geodesics():
    w, u = PLANE.problem.w0, jnp.array([1.0, 2.0, 0.0])
    assert PLANE.geodesic(w, u, [0.0, 2.0]) == pytest.approx(np.array([[1.0, 1.0], [3.0, 3.0]]))
    for wrong in ([], [[0.5]], [0.5, 0.5], [-0.1, 0.5], 0.5):
        with pytest.raises(ValueError, match="`ts` must be increasing times >= 0"):
            PLANE.geodesic(w, u, wrong)
    for wrong in (0.0, 1.0, -1e-3):
        with pytest.raises(ValueError, match=r"`rtol` must lie in \(0, 1\)"):
            PLANE.exp(w, u, rtol=wrong)
    assert PLANE.exp(w, u, rtol=0.999) == pytest.approx([2.0, 2.0])
    assert (
        default_tolerance() == 1e-11
        and ExponentialRetraction().rtol == 1e-11
        and ExponentialRetraction(1e-5).rtol == 1e-5
    )
    with jax.enable_x64(False):
        assert default_tolerance() == 1e-5
    assert ProjectionRetraction().tol == 1e-12 and ProjectionRetraction(1e-3).tol == 1e-3


@pytest.mark.parametrize(("length", "ts", "scale"), [
    (2.0, [1.0], 1.0), (0.5, [1.0], 0.5), (0.25, [0.5, 3.0], 0.75), (0.0, [1.0], float(np.finfo(float).tiny) ** 0.5),
])  # fmt: skip
def test_the_error_of_a_geodesic_is_asked_to_be_small_beside_its_length(monkeypatch, length, ts, scale):
    asked, limits, controller, solve = [], [], geodesic.diffrax.PIDController, geodesic.diffrax.diffeqsolve
    monkeypatch.setattr(
        geodesic.diffrax,
        "diffeqsolve",
        lambda *args, **options: (limits.append(options["max_steps"]), solve(*args, **options))[1],
    )
    monkeypatch.setattr(
        geodesic.diffrax, "PIDController", lambda **options: (asked.append(options), controller(**options))[1]
    )
    w, u = PLANE.problem.w0, length * jnp.array([0.6, 0.8, 0.0])
    curve = geodesic.integrate(
        PLANE.immersion, PLANE.immersion.frame(w), u, jnp.zeros(3), jnp.array(ts), jnp.asarray(1e-9)
    )
    assert float(asked[0]["rtol"]) == 1e-9 and float(asked[0]["atol"]) == pytest.approx(1e-10 * scale, rel=1e-12)
    assert curve.params == pytest.approx(np.asarray(w) + np.outer(ts, length * np.array([0.6, 0.4]))) and bool(
        curve.arrived
    )
    norm, (most,) = asked[0]["norm"], limits
    assert most == 4096
    error = {"psi": jnp.array([3.0, 0.0, 0.0]), "theta": jnp.array([0.0, 4.0, 0.0]), "w": jnp.array([np.inf])}
    assert (
        float(norm(error)) == pytest.approx((25 / 6) ** 0.5)
        and float(norm({**error, "psi": jnp.array([np.nan] * 3)})) > 1e300
    )


def test_no_velocity_leads_nowhere_and_the_way_to_a_point_from_itself_is_none():
    for manifold in (PLANE, CIRCLE):
        w = manifold.problem.w0
        nothing = jnp.zeros(manifold.ambient_dim)
        assert (
            manifold.exp(w, nothing).tolist() == w.tolist()
            and not manifold.log(w, w).any()
            and manifold.dist(w, w) == 0
        )
        across = manifold.random_tangent(w, key=jax.random.key(0))
        assert manifold.parallel_transport(w, across, nothing) == pytest.approx(np.asarray(across))


@pytest.mark.parametrize(("factor", "lands"), [(0.999, True), (1.001, False), (np.nan, False)])
def test_shooting_may_miss_by_a_millionth_of_one_and_the_velocity(monkeypatch, factor, lands):
    velocity = jnp.array([3.0, 4.0, 0.0])

    def shot(immersion, frame, other, rtol):
        return velocity, jnp.asarray(factor * 6e-6)

    monkeypatch.setattr("riemgn.geometry.geodesic.log", shot)
    w = PLANE.problem.w0
    if lands:
        assert PLANE.log(w, w).tolist() == [3.0, 4.0, 0.0]
    else:
        with pytest.raises(GeometryError, match="No geodesic to the other point was found: shooting stopped"):
            PLANE.log(w, w)


@pytest.mark.parametrize(("factor", "arrives"), [(0.999, True), (1.001, False), (np.nan, False)])
def test_a_projection_may_keep_the_root_of_its_tolerance(monkeypatch, factor, arrives):
    for tol, options in ((1e-12, {}), (1e-4, {"tol": 1e-4})):
        monkeypatch.setattr(
            "riemgn.geometry.output_manifold._project", lambda immersion, z, start, tol: (start, factor * jnp.sqrt(tol))
        )
        if arrives:
            assert PLANE.project(UP, **options).tolist() == [1.0, 1.0]
        else:
            with pytest.raises(
                GeometryError, match=f"a tangent part of {factor * tol**0.5:.3g} relative to its length"
            ):
                PLANE.project(UP, **options)


def test_lengths_in_the_ambient_form():
    form = np.array([[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 4.0]])
    manifold = manifold_of(lambda w, x: jnp.stack([w[0], 2 * w[1], 0 * w[0]]), [1.0, 1.0], 3, ambient=form)
    u, v, w = np.array([1.0, 2.0, 3.0]), np.array([1.0, -1.0, 1.0]), manifold.problem.w0
    assert float(manifold.inner(u, v)) == pytest.approx(u @ form @ v) and float(manifold.norm(u)) == pytest.approx(
        (u @ form @ u) ** 0.5
    )
    drawn = [manifold.random_tangent(w, key=jax.random.key(seed)) for seed in (0, 1)]
    assert [float(manifold.norm(vector)) for vector in drawn] == pytest.approx([1.0, 1.0]) and not np.allclose(*drawn)
    for skew, fits in ((0.5e-12, True), (4e-12, False)):
        near = form + skew * np.array([[0, 1, 0], [0, 0, 0], [0, 0, 0]])
        if fits:
            assert OutputManifold(manifold.problem, ambient=near).dim == 2
        else:
            with pytest.raises(ValueError, match="symmetric, got an asymmetry of 4e-12"):
                OutputManifold(manifold.problem, ambient=near)
    with pytest.raises(ValueError, match="least eigenvalue of 0 there"):
        OutputManifold(manifold.problem, ambient=[1.0, 0.0, 1.0])


def test_points_have_many_names_and_damping_makes_a_graph():
    problem = rg.Problem(
        lambda w, x: w["a"] * jnp.array([1.0, 2.0]) + w["b"],
        {"a": jnp.ones(()), "b": jnp.zeros(2)},
        jnp.zeros((2, 1)),
        jnp.zeros(2),
    )
    manifold, graph = OutputManifold(problem, damping=0.0), OutputManifold(problem, damping=4.0)
    for name in ([2.0, 1.0, 0.0], np.array([2.0, 1.0, 0.0]), {"a": np.array(2.0), "b": np.array([1.0, 0.0])}):
        assert manifold.embed(name).tolist() == [3.0, 4.0] and graph.embed(name).tolist() == [3.0, 4.0, 2.0, 2.0, 0.0]
    assert (manifold.dim, manifold.ambient_dim, manifold.p) == (2, 2, 3) and (
        graph.dim,
        graph.ambient_dim,
        graph.p,
    ) == (3, 5, 3)
    assert graph.metric_matrix(problem.w0) == pytest.approx(
        np.asarray(problem.jac(problem.w0).T @ problem.jac(problem.w0)) + 4 * np.eye(3)
    )
    for wrong in ({"a": np.zeros(()), "b": np.zeros(3)}, {"a": np.zeros(())}, np.zeros(2), 1.0):
        with pytest.raises(ValueError, match=r"flat of shape \(3,\) or like problem.params; got shapes"):
            manifold.embed(wrong)


# --- steps -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("angle", "step"), [(0.3, -np.tan(0.3)), (-0.4, np.tan(0.4)), (2.0, -3 * np.sin(2.0)), (np.pi, 0.0)]
)
def test_a_newton_step_on_the_circle(angle, step):
    """Half the squared distance to (3, 0) is `5 - 3 cos(w)`: where its second derivative is not positive the step is Gauss and Newton's."""
    w = jnp.array([angle])
    frame = CIRCLE.immersion.frame(w)
    found, gradient = newton_step(CIRCLE.immersion, frame, jnp.array([3.0, 0.0]))
    assert float(found[0]) == pytest.approx(step, abs=1e-14)
    assert frame.basis @ gradient == pytest.approx(
        -3 * np.sin(angle) * np.array([-np.sin(angle), np.cos(angle)]), abs=1e-14
    )


@pytest.mark.parametrize(("tol", "steps"), [(1.0, 1), (0.46, 1), (0.44, 2), (1e-1, 1), (1e-3, 2), (1e-12, 4)])
def test_a_descent_takes_the_steps_it_needs(tol, steps):
    """`w -> w - tan(w)` on the circle until `3 |sin(w)| <= tol (1 + |z - F|)` at the point before; a full step follows."""
    w = [0.5]
    while len(w) < 2 or 3 * abs(np.sin(w[-2])) > tol * (1 + np.hypot(3 - np.cos(w[-2]), np.sin(w[-2]))):
        w.append(w[-1] - np.tan(w[-1]))
    arrived = 3 * abs(np.sin(w[-1])) <= tol**0.5 * (1 + np.hypot(3 - np.cos(w[-1]), np.sin(w[-1])))
    found, flag = descend(CIRCLE.immersion, jnp.array([3.0, 0.0]), jnp.array([0.5]), jnp.asarray(tol))
    assert (
        bool(flag)
        and arrived
        and float(found[0]) == pytest.approx(w[-1] - np.tan(w[-1]), rel=1e-9, abs=1e-15)
        and len(w) - 1 >= steps
    )


@pytest.mark.parametrize(("factor", "arrives"), [(1.001, True), (0.999, False)])
def test_a_descent_has_arrived_below_the_root_of_its_tolerance(monkeypatch, factor, arrives):
    """At its start already, where no step is left: `3 |sin(w)| <= sqrt(tol) (1 + |z - F|)`, and then one full step follows."""
    monkeypatch.setattr("riemgn.geometry.retraction.MAX_NEWTON_STEPS", 0)
    share = 3 * np.sin(0.5) / (1 + np.hypot(3 - np.cos(0.5), np.sin(0.5)))
    found, flag = descend(CIRCLE.immersion, jnp.array([3.0, 0.0]), jnp.array([0.5]), jnp.asarray((factor * share) ** 2))
    assert bool(flag) is arrives and float(found[0]) == pytest.approx(0.5 - np.tan(0.5) if arrives else 0.5)


def bent(w, x):
    return jnp.stack([w[0], w[1] + 0.5 * w[0] ** 2, jnp.sin(2 * w[0]) + w[0] * w[1] ** 2])


def bent_by_hand(w):
    """`F`, `DF` and `D^2 F` of `bent` in NumPy."""
    a, b = w
    jac = np.array([[1.0, 0.0], [a, 1.0], [2 * np.cos(2 * a) + b**2, 2 * a * b]])
    second = np.array(
        [[[0.0, 0.0], [0.0, 0.0]], [[1.0, 0.0], [0.0, 0.0]], [[-4 * np.sin(2 * a), 2 * b], [2 * b, 2 * a]]]
    )
    return np.array([a, b + a**2 / 2, np.sin(2 * a) + a * b**2]), jac, second


def descended_by_hand(form, z, w, tol, most):
    """`descend` in the parameters, without a basis: `(G - <Q N, D^2 F>) step = J^T Q r`, steps halved; and what became of the trials."""

    def merit(w):
        rest = z - bent_by_hand(w)[0]
        return 0.5 * rest @ form @ rest

    def newton(w):
        point, jac, second = bent_by_hand(w)
        rest, gram = z - point, jac.T @ form @ jac
        gradient = jac.T @ form @ rest
        normal = rest - jac @ np.linalg.solve(gram, gradient)
        hessian = gram - np.einsum("a,aij->ij", form @ normal, second)
        convex = bool(np.all(np.linalg.eigvalsh(hessian) > 0))
        tangential = np.linalg.norm(np.linalg.qr(jac)[0].T @ form @ rest)
        return (
            np.linalg.solve(hessian if convex else gram, gradient),
            gradient,
            tangential,
            np.linalg.norm(rest),
            convex,
        )

    seen = {"halved": 0, "Gauss-Newton": 0}
    for _ in range(most):
        step, gradient, tangential, distance, convex = newton(w)
        length, slope, halvings = 1.0, gradient @ step, 0
        rounding = 8 * EPS * (merit(w) + slope)
        while not merit(w + length * step) <= merit(w) - 1e-4 * length * slope + rounding and halvings < 40:
            length, halvings = length / 2, halvings + 1
        seen["halved"], seen["Gauss-Newton"] = seen["halved"] + halvings, seen["Gauss-Newton"] + (not convex)
        w = w + length * step if halvings < 40 else w
        if tangential <= tol * (1 + distance) or halvings == 40:
            break
    step, _, tangential, distance, _ = newton(w)
    arrived = tangential <= tol**0.5 * (1 + distance)
    return (w + step if arrived else w), arrived, seen


@pytest.mark.parametrize("form", [None, np.array([[2.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 1.0]])])
def test_every_step_of_a_descent_is_that_of_a_dense_one(monkeypatch, form):
    start, targets = np.array([0.1, 0.2]), np.random.default_rng(0).uniform(-6, 6, (6, 3))
    immersion, dense = manifold_of(bent, start, 3, ambient=form).immersion, np.eye(3) if form is None else form
    for most in (1, 3, 64):
        monkeypatch.setattr("riemgn.geometry.retraction.MAX_NEWTON_STEPS", most)
        found, flags = jax.jit(
            partial(jax.lax.map, partial(descend, immersion, start=jnp.asarray(start), tol=jnp.asarray(1e-9)))
        )(targets)
        by_hand = [descended_by_hand(dense, z, start, 1e-9, most) for z in targets]
        for w, arrived, (expected, there, _) in zip(found, flags, by_hand, strict=True):
            assert bool(arrived) is bool(there) and w == pytest.approx(expected, rel=1e-6, abs=1e-8)
    assert all(sum(seen[name] for *_, seen in by_hand) > 1 for name in ("halved", "Gauss-Newton"))


def test_a_retraction_by_projection_is_the_nearest_point():
    u = np.array([-np.sin(0.5), np.cos(0.5)])
    assert CIRCLE.retract([0.5], 0.75 * u, "projection") == pytest.approx([0.5 + np.arctan(0.75)], abs=1e-12)
    assert CIRCLE.retract([0.5], 0.75 * u, "exponential") == pytest.approx([1.25]) and CIRCLE.retract(
        [0.5], 0.75 * u
    ) == pytest.approx([1.25])
    assert CIRCLE.project(np.array([0.0, 3.0])) == pytest.approx([np.pi / 2]) and CIRCLE.project(
        [-3.0, 1e-3], start=[3.0]
    ) == pytest.approx([np.pi], abs=1e-3)


# --- shooting --------------------------------------------------------------------------------------------------------

TURNS = 2.0


def spiral(w, x):
    """A logarithmic spiral by its length from the origin, where it ends: `exp` adds the length of a vector to `w`."""
    return (1 + TURNS**2) ** -0.5 * w[0] * jnp.stack([jnp.cos(TURNS * jnp.log(w[0])), jnp.sin(TURNS * jnp.log(w[0]))])


def shot_by_hand(to, most):
    """Gauss-Newton on `|F(1 + c) - F(to)|`, steps halved where it rises or the curve has ended: `c`, the distance left, how many trials were bad."""

    def point(w):
        return np.array([np.nan, np.nan]) if w <= 0 else np.asarray(spiral(jnp.array([w]), None))

    def tangent(w):
        angle = TURNS * np.log(w)
        return (1 + TURNS**2) ** -0.5 * np.array(
            [np.cos(angle) - TURNS * np.sin(angle), np.sin(angle) + TURNS * np.cos(angle)]
        )

    chord = point(to) - point(1.0)
    best = np.linalg.norm(chord)
    c, step, share, bad = 0.0, np.sign(chord @ tangent(1.0)) * best, 1.0, 0
    for _ in range(most):
        if share * abs(step) <= 100 * EPS * abs(c):
            break
        trial = c + share * step
        value = point(1 + trial) - point(to)
        if np.linalg.norm(value) < best:
            c, best, step, share = trial, np.linalg.norm(value), -tangent(1 + trial) @ value, 1.0
        else:
            share, bad = share / 2, bad + 1
    return c, best, bad


@pytest.mark.parametrize("most", [2, 64])
def test_every_step_of_shooting_is_gauss_newtons(monkeypatch, most):
    monkeypatch.setattr("riemgn.geometry.geodesic.SHOOTING_STEPS", most)
    immersion = manifold_of(spiral, [1.0], 2).immersion
    frame = immersion.frame(jnp.ones(1))
    ends = [0.05, 0.3, 1.5, 4.0]
    shots = jax.jit(lambda ends: jax.lax.map(lambda end: log(immersion, frame, end, jnp.asarray(1e-11)), ends))(
        jnp.array(ends)[:, None]
    )
    by_hand = [shot_by_hand(end, most) for end in ends]
    for velocity, miss, (c, left, _) in zip(*shots, by_hand, strict=True):
        assert frame.push_forward(jnp.array([c])) == pytest.approx(np.asarray(velocity), abs=1e-8) and float(
            miss
        ) == pytest.approx(left, abs=1e-8)
    assert sum(bad for *_, bad in by_hand) >= 2


# --- charts of geomstats' manifolds ----------------------------------------------------------------------------------

SPHERE = load("geomstats.geometry.hypersphere").Hypersphere(2)
HYPERBOLOID = load("geomstats.geometry.hyperboloid").Hyperboloid(2)
SPD = load("geomstats.geometry.spd_matrices").SPDMatrices(2)


@pytest.mark.parametrize(("factor", "taken"), [(0.99, True), (1.01, False)])
def test_a_base_point_lies_on_its_manifold_to_1e_8(factor, taken):
    off = factor * 1e-8
    near = [
        (SPHERE, np.array([np.sqrt(1 + off), 0.0, 0.0]), "X^T X"), (HYPERBOLOID, np.array([1 - off, 0.0, 0.0]), "x_0"),
        (SPD, np.array([[1.0, off], [0.0, 1.0]]), "transpose"),
    ]  # fmt: skip
    for space, point, _ in near:
        if taken:
            assert np.array_equal(from_geomstats(space, point).base, point)
        else:
            with pytest.raises(ValueError, match=r"`base_point` must lie on .* differs from .* by 1\.01e-08"):
                from_geomstats(space, point)
    with pytest.raises(ValueError, match="its smallest eigenvalue is 0"):
        from_geomstats(SPD, np.zeros((2, 2)))


def test_charts_are_smooth_models_of_arrays_alone():
    for chart in (CayleyChart(np.eye(3, 2)), HyperboloidChart([1.0, 0, 0]), CholeskyChart(np.eye(2))):
        assert chart.smooth is True and chart.rowwise is False
        assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(chart))
        constrained = Constrained(chart, rg.LinearModel())
        assert constrained.rowwise is rg.LinearModel().rowwise and constrained.smooth is rg.LinearModel().smooth
        assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(constrained))
    rough = Constrained(chart, rg.MLP((2, 3, 1), activation="relu"))
    assert rough.smooth is False


def test_default_base_points_are_axes_and_identities():
    assert from_geomstats(SPHERE).base.tolist() == from_geomstats(HYPERBOLOID).base.tolist() == [1.0, 0.0, 0.0]
    assert np.array_equal(from_geomstats(load("geomstats.geometry.stiefel").Stiefel(4, 2)).base, np.eye(4, 2))
    assert np.array_equal(from_geomstats(SPD).base, np.eye(2)) and from_geomstats(HYPERBOLOID).ambient.tolist() == [
        -1.0,
        1.0,
        1.0,
    ]
    assert from_geomstats(SPHERE).ambient is from_geomstats(SPD).ambient is None


def test_an_embedded_problem_has_rows_of_zeros_where_it_needs_no_inputs():
    plain, matrix = embedded_problem(SPHERE, [0.0, 0.6, 0.8]), embedded_problem(SPD, np.eye(2), loss=PseudoHuberLoss())
    assert (
        plain.x.shape == (3, 1)
        and matrix.x.shape == (2, 1)
        and not plain.x.any()
        and isinstance(matrix.loss, PseudoHuberLoss)
    )
    assert (
        plain.w0.tolist() == [0.0, 0.0]
        and isinstance(plain.model, CayleyChart)
        and isinstance(plain.loss, rg.SquaredLoss)
    )
    inputs = np.arange(6.0).reshape(2, 3)
    held = embedded_problem(SPHERE, [1.0, 2.0], rg.LinearModel(), inputs)
    assert np.array_equal(held.x, inputs) and held.outputs(held.w0) == pytest.approx(inputs[:, 0])
    with pytest.raises(ValueError, match=r"`y` must hold at least one sample, got shape \(\)"):
        embedded_problem(SPHERE, 0.5, lambda point, x: point[0])


def test_hyperboloid_and_cholesky_charts_in_closed_form():
    v = np.array([0.75, -1.0])
    assert HyperboloidChart([1.0, 0, 0]).point(v) == pytest.approx([(1 + 0.5625 + 1) ** 0.5, 0.75, -1.0])
    half, third = np.log(2.0), np.log(3.0)
    point = CholeskyChart(np.diag([4.0, 9.0])).point(jnp.array([half, third, 0.5]))
    assert point == pytest.approx(np.array([[16.0, 6.0], [6.0, 81 + 2.25]]))
    assert CholeskyChart(np.diag([4.0, 9.0])).coordinates(point) == pytest.approx([half, third, 0.5])
