/// The loops of the rotational search, compiled once per instruction set; see correlation.hpp.
///
/// Every number is a lane: one vector holds the same quantity of as many particles, each with a reference of its own,
/// so nothing is ever summed across a vector, and a particle's answer does not depend on its neighbours.
#pragma once

#include <cstdint>

namespace concordet {

/// Angles beta that are synthesised together.
inline constexpr int betas_per_group = 4;

/// What is the same for all particles. band: l < band; orders are (l, m) with l = m ... band - 1 within m >= 0.
struct SynthesisTables {
    int band, shells, angles, groups;    ///< angles alpha and gamma: a multiple of 8; groups * 4 angles beta
    /// (group, m, m', l = max(m, m') ... band - 1, 2, 4): d^l_mm' and d^l_m,-m' at four betas, doubled for m > 0
    const float* wigner;
    /// (m, angles / 4): cos and sin of m times the first quarter of the angles (i + 1/2) 2 pi / angles
    const float *cosines, *sines;
};

struct SynthesisWork {
    float* contracted;    ///< (m, m', l, 4, lanes): sum over shells of p_lm conj q_lm' and of p_lm conj q_l,-m', re, im
    float* rings;         ///< (4 betas, gamma, m, 2, lanes)
};

struct CorrelationLoops {
    int lanes;
    /// Lane i of destination[e] <- source[i][e]; sources that are null give zeros.
    void (*interleave)(const float* const* sources, std::int64_t count, float* destination);
    /// best = max(best, correlation - penalty) over all rotations (beta, gamma, alpha, lanes), and `shift` into `index`
    /// where it rose; `index` null: best = correlation.
    ///
    /// particles, references: (order, shell, 2, lanes)
    void (*correlate)(const SynthesisTables&, const SynthesisWork&, const float* particles, const float* references,
                      float penalty, int shift, float* best, std::int32_t* index);
    /// peaks = scores where no neighbour of the grid (26, periodic in alpha and gamma) is higher, else `nothing`.
    void (*peaks)(int angles, int betas, const float* scores, float nothing, float* peaks);
};

const CorrelationLoops& correlation_loops_baseline();
const CorrelationLoops& correlation_loops_avx2();
const CorrelationLoops& correlation_loops_avx512();

}  // namespace concordet
