"""geomstats' own pullback metric on the stereographic chart of S^p, timed in a process of its own under the autograd backend.

`python -m tests.bench.peer_geometry P christoffels|exp` prints one JSON object: the value and the median seconds.
"""

import json
import statistics
import sys
import time

import numpy as np

from riemgn.geometry.interop.geomstats_import import load


def pullback_sphere(p: int):
    """S^p in R^(p+1) by the inverse stereographic projection, as geomstats' generic immersed set."""
    gs = load("geomstats.backend")
    immersed = load("geomstats.geometry.base").ImmersedSet
    euclidean = load("geomstats.geometry.euclidean").Euclidean
    metric = load("geomstats.geometry.pullback_metric").PullbackMetric

    class StereographicSphere(immersed):
        def immersion(self, point):
            square = gs.sum(point**2, axis=-1, keepdims=True)
            return gs.concatenate([2 * point, square - 1], axis=-1) / (square + 1)

        def _define_embedding_space(self):
            return euclidean(dim=self.dim + 1)

        def is_tangent(self, vector, base_point=None, atol=1e-12):
            raise NotImplementedError

        def to_tangent(self, vector, base_point=None):
            raise NotImplementedError

    space = StereographicSphere(dim=p, equip=False)
    space.equip_with_metric(metric)
    return space


def point_and_velocity(p: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(p)
    w, a = rng.standard_normal(p), rng.standard_normal(p)
    return 0.5 * w / np.linalg.norm(w), 0.4 * a / np.linalg.norm(a)


def main(p: int, name: str) -> None:
    space = pullback_sphere(p)
    w, a = point_and_velocity(p)
    call = {"christoffels": lambda: space.metric.christoffels(w), "exp": lambda: space.metric.exp(a, w)}[name]
    times = []
    for _ in range(5 if p <= 2 else 1):
        start = time.perf_counter()
        value = call()
        times.append(time.perf_counter() - start)
    print(json.dumps({"seconds": statistics.median(times), "value": np.asarray(value).tolist()}))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
