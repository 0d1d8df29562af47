"""Averages and classes of particles by expectation-maximisation: FAML (soft assignment) and FA (the best pose alone).

Model [2, eq. 7]: X_i = w_i (R_phi A_k) + noise, seen where w_i > 0. With p0, p1 of each particle (`wedge.statistics`),

    E   P(k, phi | i) ~ alpha_k v_phi exp ll(i, k, phi),   ll as in `poses`, candidates phi by `correlation`,
        v_phi their Voronoi shares                                                              [2, eq. 3-6, 15]
    M   A_k = num / (den + 0.25 f sigma^2 / S),  num = sum P R^-1 p0,  den = sum P R^-1 p1,
        sigma^2 per shell, xi^2 = mean |t|^2 / 3, alpha_k                                       [2, eq. 10-14]

S is the masked power of the signal, f the masked part of the box. What differs from the printed algorithm, and why:
fold references (a particle never sees itself in its reference: at full band its own noise would hold it where it is),
a rising band, a mask, a random start, exact correlation over a grid of shifts. `Settings.paper` switches all of it off.

[2] is Zhao, Zeng et al., An integration of fast alignment and maximum-likelihood methods for electron subtomogram
averaging and classification.
"""

from __future__ import annotations

from .em import Averager
from .model import (
    BANDS,
    SEARCH_SHELLS,
    Model,
    Particles,
    Posterior,
    Progress,
    Result,
    Settings,
    Task,
    Timer,
    best_poses,
    hard,
    soft,
)

__all__ = ["BANDS", "SEARCH_SHELLS", "Averager", "Model", "Particles", "Posterior", "Progress", "Result", "Settings",
           "Task", "Timer", "best_poses", "hard", "soft"]
