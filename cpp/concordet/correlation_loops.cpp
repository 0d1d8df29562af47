// Rotational correlation of as many particles as a vector has lanes. Static only: no templates of the standard library
// (cmake/check_symbols.py).
//
// Per shift: contraction over shells, S^l_mm' = sum_r p_lm conj q_lm'; the negative m' come with it, because
// q_l,-m' = (-1)^(l + m') conj q_lm'. Then for four angles beta at a time G_mm' = sum_l d^l_mm' S^l_mm', and two real
// Fourier sums, over m' and over m, as matrix products with the angles (i + 1/2) 2 pi / N: the four quarters of the
// circle share their products, which makes them cheaper than FFTs of this length.

#include "correlation_loops.hpp"

#include "lanes.hpp"

#if defined(__AVX512F__)
#define ORDER_TILE 4        // m' contracted together: 4 accumulators each
#define BETA_TILE 4         // 4 accumulators each
#define ANGLE_TILE 4        // 4 accumulators each
#define RING_TILE 2
#else
#define ORDER_TILE 2
#define BETA_TILE 2
#define ANGLE_TILE 2
#define RING_TILE 1
#endif

namespace concordet {
namespace {

constexpr int most_band = 128;

INLINE std::int64_t order_of(int l, int m, int band) { return m * band - m * (m - 1) / 2 + l - m; }

void interleave(const float* const* sources, std::int64_t count, float* destination) {
    for (int lane = 0; lane < LANES; ++lane) {
        const float* source = sources[lane];
        float* to = destination + lane;
        if (source)
            for (std::int64_t e = 0; e < count; ++e) to[e * LANES] = source[e];
        else
            for (std::int64_t e = 0; e < count; ++e) to[e * LANES] = 0;
    }
}

/// One (l, m) with `tile` orders m', the harmonics of reference i at q[i]: sums over shells of ac, bd, bc, ad.
template <int tile>
INLINE void contract_tile(const float* p, const float* const* q, int shells, Vector (*sums)[4]) {
    for (int i = 0; i < tile; ++i)
        for (int j = 0; j < 4; ++j) sums[i][j] = Vector{};
    for (std::int64_t at = 0; at < static_cast<std::int64_t>(2) * shells * LANES; at += 2 * LANES) {
        const Vector a = load(p + at), b = load(p + at + LANES);
        for (int i = 0; i < tile; ++i) {
            const Vector c = load(q[i] + at), d = load(q[i] + at + LANES);
            sums[i][0] += a * c;
            sums[i][1] += b * d;
            sums[i][2] += b * c;
            sums[i][3] += a * d;
        }
    }
}

void contract(const SynthesisTables& tables, const float* p, const float* q, float* contracted) {
    const int band = tables.band, shells = tables.shells;
    const std::int64_t step = static_cast<std::int64_t>(2) * shells * LANES;
    float* rows[most_band];    // of (m, m') at l = max(m, m')
    for (int m = 0; m < band; ++m) {
        for (int m_prime = 0; m_prime < band; ++m_prime) {
            rows[m_prime] = contracted;
            contracted += static_cast<std::int64_t>(band - (m > m_prime ? m : m_prime)) * 4 * LANES;
        }
        for (int l = m; l < band; ++l) {
            const float* p_lm = p + order_of(l, m, band) * step;
            for (int m_prime = 0, tile; m_prime <= l; m_prime += tile) {
                tile = m_prime + ORDER_TILE <= l + 1 ? ORDER_TILE : 1;
                Vector sums[ORDER_TILE][4];
                const float* at[ORDER_TILE];
                for (int i = 0; i < tile; ++i) at[i] = q + order_of(l, m_prime + i, band) * step;
                if (tile == 1)
                    contract_tile<1>(p_lm, at, shells, sums);
                else
                    contract_tile<ORDER_TILE>(p_lm, at, shells, sums);
                for (int i = 0; i < tile; ++i) {
                    const int order = m_prime + i, first = m > order ? m : order;
                    float* to = rows[order] + static_cast<std::int64_t>(l - first) * 4 * LANES;
                    const Vector sign = spread((l + order) % 2 ? -1.0f : 1.0f);
                    store(to, sums[i][0] + sums[i][1]);
                    store(to + LANES, sums[i][2] - sums[i][3]);
                    store(to + 2 * LANES, sign * (sums[i][0] - sums[i][1]));
                    store(to + 3 * LANES, sign * (sums[i][2] + sums[i][3]));
                }
            }
        }
    }
}

/// pairs(beta, m', 4): G_m' + G_-m' and G_m' - G_-m', re and im, for one m and four betas.
void sum_over_l(const float* contracted, const float* wigner, int m, int band, float* pairs) {
    for (int m_prime = 0; m_prime < band; ++m_prime) {
        const int terms = band - (m > m_prime ? m : m_prime);
        for (int beta = 0; beta < betas_per_group; beta += BETA_TILE) {
            Vector sums[BETA_TILE][4];
            for (int b = 0; b < BETA_TILE; ++b)
                for (int j = 0; j < 4; ++j) sums[b][j] = Vector{};
            for (int l = 0; l < terms; ++l) {
                const float* s = contracted + static_cast<std::int64_t>(l) * 4 * LANES;
                const float* d = wigner + static_cast<std::int64_t>(l) * 2 * betas_per_group + beta;
                const Vector s0 = load(s), s1 = load(s + LANES), s2 = load(s + 2 * LANES), s3 = load(s + 3 * LANES);
                for (int b = 0; b < BETA_TILE; ++b) {
                    const Vector plus = spread(d[b]), minus = spread(d[betas_per_group + b]);
                    sums[b][0] += plus * s0;
                    sums[b][1] += plus * s1;
                    sums[b][2] += minus * s2;
                    sums[b][3] += minus * s3;
                }
            }
            for (int b = 0; b < BETA_TILE; ++b) {
                float* to = pairs + (static_cast<std::int64_t>(beta + b) * band + m_prime) * 4 * LANES;
                // m' = 0 is its own mirror image.
                const Vector other_real = m_prime ? sums[b][2] : Vector{}, other_imaginary = m_prime ? sums[b][3] : Vector{};
                store(to, sums[b][0] + other_real);
                store(to + LANES, sums[b][1] + other_imaginary);
                store(to + 2 * LANES, sums[b][0] - other_real);
                store(to + 3 * LANES, sums[b][1] - other_imaginary);
            }
        }
        contracted += static_cast<std::int64_t>(terms) * 4 * LANES;
        wigner += static_cast<std::int64_t>(terms) * 2 * betas_per_group;
    }
}

/// Sums over m' of one parity for ANGLE_TILE angles: E_re cos, E_im cos, O_re sin, O_im sin.
INLINE void sum_over_orders(const float* pairs, const SynthesisTables& tables, int first, int angle,
                            Vector (*sums)[4]) {
    const int quarter = tables.angles / 4;
    for (int i = 0; i < ANGLE_TILE; ++i)
        for (int j = 0; j < 4; ++j) sums[i][j] = Vector{};
    for (int m_prime = first; m_prime < tables.band; m_prime += 2) {
        const float* from = pairs + static_cast<std::int64_t>(m_prime) * 4 * LANES;
        const Vector e0 = load(from), e1 = load(from + LANES), o0 = load(from + 2 * LANES), o1 = load(from + 3 * LANES);
        const float* c = tables.cosines + m_prime * quarter + angle;
        const float* s = tables.sines + m_prime * quarter + angle;
        for (int i = 0; i < ANGLE_TILE; ++i) {
            const Vector cosine = spread(c[i]), sine = spread(s[i]);
            sums[i][0] += cosine * e0;
            sums[i][1] += cosine * e1;
            sums[i][2] += sine * o0;
            sums[i][3] += sine * o1;
        }
    }
}

/// rings(gamma, m): sum_m' G_m' exp(i m' gamma) for one m and one beta.
void sum_over_m_prime(const SynthesisTables& tables, const float* pairs, int m, float* rings) {
    const int n = tables.angles, quarter = n / 4;
    const std::int64_t step = static_cast<std::int64_t>(2) * tables.band * LANES;
    float* ring = rings + static_cast<std::int64_t>(m) * 2 * LANES;
    for (int angle = 0; angle < quarter; angle += ANGLE_TILE) {
        Vector even[ANGLE_TILE][4], odd[ANGLE_TILE][4];
        sum_over_orders(pairs, tables, 0, angle, even);
        sum_over_orders(pairs, tables, 1, angle, odd);
        for (int i = 0; i < ANGLE_TILE; ++i) {
            const int at = angle + i;
            const Vector c0 = even[i][0] + odd[i][0], c1 = even[i][1] + odd[i][1];
            const Vector s0 = even[i][2] + odd[i][2], s1 = even[i][3] + odd[i][3];
            float* to = ring + at * step;
            store(to, c0 - s1);
            store(to + LANES, c1 + s0);
            to = ring + (n - 1 - at) * step;
            store(to, c0 + s1);
            store(to + LANES, c1 - s0);
            const Vector d0 = even[i][0] - odd[i][0], d1 = even[i][1] - odd[i][1];
            const Vector t0 = even[i][2] - odd[i][2], t1 = even[i][3] - odd[i][3];
            to = ring + (n / 2 + at) * step;
            store(to, d0 - t1);
            store(to + LANES, d1 + t0);
            to = ring + (n / 2 - 1 - at) * step;
            store(to, d0 + t1);
            store(to + LANES, d1 - t0);
        }
    }
}

typedef int Indices __attribute__((vector_size(LANES * 4)));

INLINE void keep_best(Vector value, Vector penalty, Indices shift, float* best, std::int32_t* index) {
    if (!index) {
        store(best, value);
        return;
    }
    value -= penalty;
    const Vector before = load(best);
    Indices from;
    memcpy(&from, index, sizeof from);
    const auto higher = value > before;
    store(best, higher ? value : before);
    from = higher ? shift : from;
    memcpy(index, &from, sizeof from);
}

/// RING_TILE rings of one beta: the sum over m, a real number for every alpha.
INLINE void sum_over_m(const SynthesisTables& tables, const float* ring, Vector penalty, Indices shift, float* best,
                       std::int32_t* index) {
    const int n = tables.angles, quarter = n / 4;
    const std::int64_t step = static_cast<std::int64_t>(2) * tables.band * LANES;
    for (int angle = 0; angle < quarter; angle += ANGLE_TILE) {
        Vector sums[2][RING_TILE][ANGLE_TILE][2];
        for (int parity = 0; parity < 2; ++parity) {
            for (int r = 0; r < RING_TILE; ++r)
                for (int i = 0; i < ANGLE_TILE; ++i) sums[parity][r][i][0] = sums[parity][r][i][1] = Vector{};
            for (int m = parity; m < tables.band; m += 2) {
                const float* c = tables.cosines + m * quarter + angle;
                const float* s = tables.sines + m * quarter + angle;
                Vector real[RING_TILE], imaginary[RING_TILE];
                for (int r = 0; r < RING_TILE; ++r) {
                    real[r] = load(ring + r * step + static_cast<std::int64_t>(2) * m * LANES);
                    imaginary[r] = load(ring + r * step + (static_cast<std::int64_t>(2) * m + 1) * LANES);
                }
                for (int i = 0; i < ANGLE_TILE; ++i) {
                    const Vector cosine = spread(c[i]), sine = spread(s[i]);
                    for (int r = 0; r < RING_TILE; ++r) {
                        sums[parity][r][i][0] += cosine * real[r];
                        sums[parity][r][i][1] += sine * imaginary[r];
                    }
                }
            }
        }
        for (int r = 0; r < RING_TILE; ++r)
            for (int i = 0; i < ANGLE_TILE; ++i) {
                const int at = angle + i;
                const Vector c = sums[0][r][i][0] + sums[1][r][i][0], s = sums[0][r][i][1] + sums[1][r][i][1];
                const Vector d = sums[0][r][i][0] - sums[1][r][i][0], t = sums[0][r][i][1] - sums[1][r][i][1];
                const std::int64_t row = static_cast<std::int64_t>(r) * n;
                const auto put = [&](int alpha, Vector value) __attribute__((always_inline)) {
                    const std::int64_t place = (row + alpha) * LANES;
                    keep_best(value, penalty, shift, best + place, index ? index + place : nullptr);
                };
                put(at, c - s);
                put(n - 1 - at, c + s);
                put(n / 2 + at, d - t);
                put(n / 2 - 1 - at, d + t);
            }
    }
}

void correlate(const SynthesisTables& tables, const SynthesisWork& work, const float* particles,
               const float* references, float penalty, int shift, float* best, std::int32_t* index) {
    const int band = tables.band, n = tables.angles;
    const std::int64_t ring_step = static_cast<std::int64_t>(2) * band * LANES;
    float pairs[betas_per_group * most_band * 4 * LANES];
    contract(tables, particles, references, work.contracted);
    std::int64_t block = 0;    // of (m, all m', all l)
    const float* wigner = tables.wigner;
    const Indices shifts = Indices{} + shift;
    for (int group = 0; group < tables.groups; ++group) {
        const float* contracted = work.contracted;
        for (int m = 0; m < band; ++m) {
            sum_over_l(contracted, wigner, m, band, pairs);
            for (int beta = 0; beta < betas_per_group; ++beta)
                sum_over_m_prime(tables, pairs + static_cast<std::int64_t>(beta) * band * 4 * LANES, m,
                                 work.rings + beta * n * ring_step);
            block = 0;
            for (int m_prime = 0; m_prime < band; ++m_prime) block += band - (m > m_prime ? m : m_prime);
            contracted += block * 4 * LANES;
            wigner += block * 2 * betas_per_group;
        }
        for (int beta = 0; beta < betas_per_group; ++beta)
            for (int gamma = 0; gamma < n; gamma += RING_TILE) {
                const std::int64_t ring = static_cast<std::int64_t>(beta) * n + gamma;
                const std::int64_t place = (static_cast<std::int64_t>(group) * betas_per_group * n * n + ring * n) * LANES;
                sum_over_m(tables, work.rings + ring * ring_step, spread(penalty), shifts, best + place,
                           index ? index + place : nullptr);
            }
    }
}

void peaks(int angles, int betas, const float* scores, float nothing, float* peaks) {
    const std::int64_t row = static_cast<std::int64_t>(angles) * LANES, slice = row * angles;
    for (int beta = 0; beta < betas; ++beta)
        for (int gamma = 0; gamma < angles; ++gamma)
            for (int alpha = 0; alpha < angles; ++alpha) {
                const std::int64_t at = beta * slice + gamma * row + static_cast<std::int64_t>(alpha) * LANES;
                const Vector value = load(scores + at);
                Vector highest = value;
                for (int b = beta ? beta - 1 : 0; b <= (beta + 1 < betas ? beta + 1 : beta); ++b)
                    for (int dg = -1; dg <= 1; ++dg) {
                        const int g = gamma + dg < 0 ? angles - 1 : gamma + dg == angles ? 0 : gamma + dg;
                        for (int da = -1; da <= 1; ++da) {
                            const int a = alpha + da < 0 ? angles - 1 : alpha + da == angles ? 0 : alpha + da;
                            const Vector other = load(scores + b * slice + g * row + static_cast<std::int64_t>(a) * LANES);
                            highest = other > highest ? other : highest;
                        }
                    }
                store(peaks + at, highest > value ? spread(nothing) : value);
            }
}

const CorrelationLoops loops{LANES, interleave, correlate, peaks};

}  // namespace

const CorrelationLoops& JOIN(correlation_loops_, CONCORDET_ISA)() { return loops; }

}  // namespace concordet
