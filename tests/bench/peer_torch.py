"""Peers in PyTorch: torchdiffeq for `flow.py`, Jacobian products of curvlinops for `kernel.py`."""

import itertools

import numpy as np
import torch


def _tensor(value):
    return torch.tensor(np.asarray(value), dtype=torch.float64)


def solve_flow(problem, damping, times, tolerance, deadline):
    """Return the parameters at `times` of the flow of a two-layer network with weighted outputs."""
    from torchdiffeq import odeint

    x, y, w0 = _tensor(problem.x), _tensor(problem.y), _tensor(problem.w0)
    width, inputs = problem.params[0]["weight"].shape

    def output(w, row):
        hidden = torch.tanh(w[: width * inputs].reshape(width, inputs) @ row[:-1] / inputs**0.5)
        return row[-1] * (hidden @ w[width * inputs :]) / width**0.5

    slope_and_value = torch.func.vmap(torch.func.grad_and_value(output), in_dims=(None, 0))

    def velocity(t, w):
        deadline.check()
        jac, f = slope_and_value(w, x)
        g = f - y
        if damping is None:
            return -torch.linalg.lstsq(jac, g[:, None], driver="gelsd").solution[:, 0]
        small = jac @ jac.T if jac.shape[0] <= jac.shape[1] else jac.T @ jac
        factor = torch.linalg.cholesky(small + damping * torch.eye(small.shape[0], dtype=w.dtype))
        if jac.shape[0] <= jac.shape[1]:
            return -jac.T @ torch.cholesky_solve(g[:, None], factor)[:, 0]
        return -torch.cholesky_solve((jac.T @ g)[:, None], factor)[:, 0]

    return odeint(velocity, w0, _tensor(times), rtol=tolerance, atol=tolerance, method="dopri8").numpy()


def kernel_by_curvlinops(sizes, params, x):
    """Return a function that forms `J (J^T I)` of the same network with curvlinops' operators."""
    from curvlinops import JacobianLinearOperator, TransposedJacobianLinearOperator

    layers = []
    for layer, (before, after) in zip(params, itertools.pairwise(sizes), strict=True):
        linear = torch.nn.Linear(before, after, dtype=torch.float64)
        linear.weight.data, linear.bias.data = (_tensor(layer[name]) for name in ("weight", "bias"))
        layers += [Scaled(linear, before), torch.nn.Tanh()]
    net = torch.nn.Sequential(*layers[:-1])
    data = [(_tensor(x), torch.zeros(x.shape[0], sizes[-1], dtype=torch.float64))]
    parameters = [value for value in net.parameters() if value.requires_grad]
    forward = JacobianLinearOperator(net, parameters, data, check_deterministic=False)
    backward = TransposedJacobianLinearOperator(net, parameters, data, check_deterministic=False)
    identity = torch.eye(x.shape[0] * sizes[-1], dtype=torch.float64)
    return lambda: (forward @ (backward @ identity)).detach().numpy()


class Scaled(torch.nn.Module):
    """A layer in NTK scaling: weights are divided by the square root of the number of inputs."""

    def __init__(self, linear, inputs):
        super().__init__()
        self.linear, self.root = linear, inputs**0.5

    def forward(self, x):
        return x @ self.linear.weight.T / self.root + self.linear.bias
