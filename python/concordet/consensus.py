"""Consensus equilibrium of several reconstructions of one specimen (MACE), and DM-SIRT on it.

Find one stacked state w with F(w) = G(w): each agent F_i improves its own copy on its own views, G replaces every
copy by their mean. Literal algorithm 1 of Wang et al., one outer iteration:

    1. z_i <- 2 w - w_i                          reflect every state in the mean
    2. v_i <- K SIRT steps from z_i, subset i    every agent on its own
    3. w_i <- rho (2 v_i - z_i) + (1 - rho) w_i  a Mann step
    4. w   <- mean_i w_i                         ordered sum
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from concordet.context import Context, Serial
from concordet.errors import InputError
from concordet.partition import ViewPartition
from concordet.projection import TiltData, zeros_volume
from concordet.reconstruction import Fit, OnIteration, check_iterations, collect, sirt

# The largest eigenvalue of C W^T R W is 1 for any subset: W and the weights are non-negative and
# C W^T R W 1 = C W^T (pixels used) <= 1, 1 but where rays are scarce (Perron; a test checks it by power iteration).
LARGEST_EIGENVALUE = 1.0


def check_agents(relaxation: np.ndarray, rho: float) -> None:
    """Refuse what makes the Mann iteration oscillate: rho outside (0, 1), or alpha_i L_i > 1."""
    if not 0 < rho < 1:
        raise InputError(f"rho: expected 0 < rho < 1 (the Mann iteration does not converge outside), got {rho}")
    for step in np.unique(relaxation):
        if not 0 < step * LARGEST_EIGENVALUE <= 1:
            raise InputError("relaxation of the agents: expected 0 < alpha_i <= 1 / L_i = "
                             f"{1 / LARGEST_EIGENVALUE:g} (they oscillate above), got {step:g}")


def dm_sirt(
    data: TiltData,
    partition: ViewPartition,
    *,
    outer: int = 10,
    inner: int = 10,
    relaxation: float | np.ndarray = 0.3,
    rho: float = 0.5,
    initial: np.ndarray | None = None,
    positivity: bool = False,
    tolerance: float = 0.0,
    on_iteration: OnIteration | None = None,
    on_agent: Callable[[int], None] | None = None,
    context: Context | None = None,
) -> np.ndarray:
    """DM-SIRT [Wang et al., algorithm 1]: SIRT agents on subsets of views reach one volume.

    partition   the subsets, one agent each (N)
    outer       outer iterations, at least 1
    inner       SIRT steps of an agent per outer iteration (K), at least 1
    relaxation  alpha, one for all agents or (N,); 0 < alpha_i L_i <= 1
    rho         0 < rho < 1
    initial     x0, (z, y, x); zero by default
    positivity  clamp every agent's steps, and the volume returned, at zero
    tolerance   end when |change of w| / |w| falls below it; 0: never
    on_agent    called with the number of agents' turns done, over all outer iterations
    Returns w, (z, y, x). InputError for parameters out of range.
    """
    steps = np.broadcast_to(np.asarray(relaxation, float), (len(partition),))
    check_agents(steps, rho)
    check_iterations(outer, "outer iterations")
    check_iterations(inner, "inner iterations")
    context = context or Serial()
    agents = context.share(range(len(partition)))
    mean = data.start(initial)
    states = {agent: mean.copy() for agent in agents}
    output = zeros_volume(data.projector.volume_shape)
    for iteration in range(outer):
        total = np.zeros_like(mean)
        residual = np.zeros(1)
        for turn, agent in enumerate(agents, start=1):
            state, views = states[agent], partition.subsets[agent]
            reflected = 2 * mean - state  # 1
            output[...] = reflected
            fits: list[Fit] = []
            sirt(data, iterations=inner, relaxation=float(steps[agent]), views=views, positivity=positivity,
                 volume=output, column_weights=data.cached_column_weights(views), on_iteration=collect(fits))  # 2
            residual += fits[0].weighted_residual
            reflected *= -rho  # 3, in place: w_i <- rho (2 v_i - z_i) + (1 - rho) w_i
            state *= 1 - rho
            state += reflected
            np.multiply(output, 2 * rho, out=reflected)
            state += reflected
            total += state
            if on_agent:
                on_agent(iteration * len(agents) + turn)
        context.sum(total)  # 4
        context.sum(residual)
        total /= len(partition)
        mean -= total
        norm = np.linalg.norm(total)
        change = float(np.linalg.norm(mean) / norm) if norm > 0 else 0.0
        mean[...] = total
        if on_iteration and on_iteration(iteration, mean, Fit(float(residual[0]), change)):
            break
        if change < tolerance:
            break
    if positivity:
        np.maximum(mean, 0, out=mean)
    return mean
