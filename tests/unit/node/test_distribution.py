"""Counts between bounds."""

import math

from raftq_k8s.node.distribution import Distribution


def test_what_takes_as_long_as_a_bound_is_within_it_and_the_longest_are_counted_too():
    took = Distribution((0.1, 0.5))
    for seconds in (0.0, 0.1, 0.2, 9.0):
        took.observe(seconds)
    assert list(took.cumulated()) == [(0.1, 2), (0.5, 3), (math.inf, 4)]
    assert took.total == 9.3
