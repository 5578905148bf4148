"""Ready-made problems: the properties they promise, and bad arguments."""

import jax
import numpy as np
import pytest

import riemgn as rg


def test_teacher_student_has_the_requested_condition_number():
    problem = rg.teacher_student(n=40, width=3, cond=1e4, key=jax.random.key(0), alpha=5.0)
    assert abs(np.linalg.cond(problem.x) / 1e4 - 1) < 1e-8
    assert np.all(np.asarray(problem.outputs(problem.w0)) == 0)
    assert np.linalg.matrix_rank(problem.jac(problem.w0)) == problem.p


BAD_TASKS = {
    "no samples": (lambda key: rg.teacher_student(n=0, key=key), "must be positive, got 0, 8, 1 and 4"),
    "cond below 1": (lambda key: rg.teacher_student(cond=0.5, key=key), "`cond` must be at least 1 .* got 0.5"),
    "negative noise": (lambda key: rg.teacher_student(noise=-1.0, key=key), "`noise` must be >= 0, got -1.0"),
    "no scale": (lambda key: rg.teacher_student(alpha=0.0, key=key), "`alpha` must be positive and finite, got 0.0"),
    "circle": (lambda key: rg.task.circle(radius=-1.0), "`radius` and `target` must be positive, got -1.0 and 1.0"),
    "sphere": (lambda key: rg.task.sphere(target=0.0), "got 1.0 and 0.0"),
    "torus": (lambda key: rg.task.torus(major=0.5), "0 < minor < major, got 0.7 and 0.5"),
    "rank one": (lambda key: rg.task.rank_one(1, 3, key=key), "at least 2, got 1 and 3"),
}


@pytest.mark.parametrize("name", BAD_TASKS)
def test_bad_tasks_are_rejected(name):
    make, fragment = BAD_TASKS[name]
    with pytest.raises(ValueError, match=fragment):
        make(jax.random.key(0))
