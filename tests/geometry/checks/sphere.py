"""The unit sphere in plain NumPy, with formulas that share no code with the package."""

import numpy as np

from riemgn.geometry import ManifoldFunctions

MATRIX = np.diag([1.0, 2.0, 4.0]) + 0.3
POINT = np.array([0.36, 0.48, 0.8])


def norm(v):
    return float(np.linalg.norm(v))


def project(x, a):
    return a - (x @ a) / (x @ x) * x


def retract(x, u):
    return (x + u) / norm(x + u)


def exp(x, u):
    return np.cos(norm(u)) * x + np.sinc(norm(u) / np.pi) * u


def dist(x, y):
    return 2 * np.arcsin(min(1.0, norm(x - y) / 2))


def turning(x, u):
    """Move with first order: turn away from the geodesic."""
    return retract(x, u + 0.2 * norm(u) * np.cross(x, u))


TANGENT = project(POINT, np.array([1.0, 0, 0]))
SPHERE = ManifoldFunctions(retract, to_tangent=project, exp=exp, dist=dist)
NO_EXP = ManifoldFunctions(retract, to_tangent=project)
BARE = ManifoldFunctions(retract)


def cost(x):
    return 0.5 * x @ MATRIX @ x + np.sin(x[0])


def euclidean_grad(x):
    return MATRIX @ x + np.array([np.cos(x[0]), 0, 0])


def grad(x):
    return project(x, euclidean_grad(x))


def flat_hessp(x, u):
    """Leave out the curvature term of the Hessian."""
    return project(x, MATRIX @ u - np.array([np.sin(x[0]) * u[0], 0, 0]))


def hessp(x, u):
    return flat_hessp(x, u) - (x @ euclidean_grad(x)) * u
