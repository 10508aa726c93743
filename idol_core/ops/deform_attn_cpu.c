/* Multi-scale deformable attention on the CPU: forward and gradients. This file is included by itself once for each
 * scalar type. All arrays are contiguous:
 *   value [N, S, M, D]   shapes [L, 2] (h, w)   locations [N, Q, M, L, P, 2] (x, y)   weights [N, Q, M, L, P]
 *   output [N, Q, M, D]
 * A thread owns whole (n, m) pairs, so nothing is written twice and results do not depend on the number of threads.
 */
#ifndef REAL

#include <math.h>
#include <stdint.h>
#include <string.h>

#define JOIN(a, b) a##b
#define NAME(base, suffix) JOIN(base, suffix)
#define SIZES int64_t N, int64_t S, int64_t M, int64_t D, int64_t L, int64_t Q, int64_t P
#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

#define REAL float
#define SUFFIX _f32
#define FLOOR floorf
#include __FILE__
#undef REAL
#undef SUFFIX
#undef FLOOR
#define REAL double
#define SUFFIX _f64
#define FLOOR floor
#include __FILE__

#else

/* The four cells around a location: upper left, upper right, lower left, lower right. */
typedef struct {
    int64_t cell[4]; /* where a cell's D channels start in value; -1 outside of the map */
    REAL part[4];    /* how much each counts */
    REAL fx, fy;     /* position between the left and right, upper and lower cells, 0..1 */
} NAME(Corners, SUFFIX);

/* 0 where all four cells lie outside. */
INLINE int NAME(find_corners, SUFFIX)(NAME(Corners, SUFFIX) *c, REAL x, REAL y, int64_t base, int64_t h, int64_t w,
                                      int64_t stride) {
    REAL px = x * (REAL)w - (REAL)0.5, py = y * (REAL)h - (REAL)0.5;
    if (!(px > -1 && py > -1 && px < (REAL)w && py < (REAL)h)) return 0; /* also for NaN */
    REAL left = FLOOR(px), top = FLOOR(py);
    int64_t x0 = (int64_t)left, y0 = (int64_t)top;
    c->fx = px - left;
    c->fy = py - top;
    int in_left = x0 >= 0, in_right = x0 + 1 < w, in_top = y0 >= 0, in_bottom = y0 + 1 < h;
    int64_t first = base + (y0 * w + x0) * stride;
    c->cell[0] = in_top & in_left ? first : -1;
    c->cell[1] = in_top & in_right ? first + stride : -1;
    c->cell[2] = in_bottom & in_left ? first + w * stride : -1;
    c->cell[3] = in_bottom & in_right ? first + (w + 1) * stride : -1;
    c->part[0] = (1 - c->fy) * (1 - c->fx);
    c->part[1] = (1 - c->fy) * c->fx;
    c->part[2] = c->fy * (1 - c->fx);
    c->part[3] = c->fy * c->fx;
    return 1;
}

INLINE void NAME(forward, SUFFIX)(int64_t n, int64_t m, const REAL *restrict value, const int64_t *shapes,
                                  const REAL *locations, const REAL *weights, REAL *restrict output, SIZES) {
    REAL zeros[D]; /* stands in for cells outside of the map */
    memset(zeros, 0, sizeof(zeros));
    for (int64_t q = 0; q < Q; q++) {
        int64_t row = (n * Q + q) * M + m;
        const REAL *location = locations + row * L * P * 2, *weight = weights + row * L * P;
        REAL *restrict out = output + row * D;
        memset(out, 0, sizeof(REAL) * (size_t)D);
        int64_t base = (n * S * M + m) * D;
        for (int64_t l = 0; l < L; l++) {
            int64_t h = shapes[2 * l], w = shapes[2 * l + 1];
            for (int64_t p = 0; p < P; p++, location += 2, weight++) {
                NAME(Corners, SUFFIX) c;
                if (!NAME(find_corners, SUFFIX)(&c, location[0], location[1], base, h, w, M * D)) continue;
                const REAL *c0 = c.cell[0] < 0 ? zeros : value + c.cell[0];
                const REAL *c1 = c.cell[1] < 0 ? zeros : value + c.cell[1];
                const REAL *c2 = c.cell[2] < 0 ? zeros : value + c.cell[2];
                const REAL *c3 = c.cell[3] < 0 ? zeros : value + c.cell[3];
                REAL s0 = *weight * c.part[0], s1 = *weight * c.part[1];
                REAL s2 = *weight * c.part[2], s3 = *weight * c.part[3];
                for (int64_t d = 0; d < D; d++) out[d] += s0 * c0[d] + s1 * c1[d] + s2 * c2[d] + s3 * c3[d];
            }
            base += h * w * M * D;
        }
    }
}

INLINE void NAME(backward, SUFFIX)(int64_t n, int64_t m, const REAL *restrict value, const int64_t *shapes,
                                   const REAL *locations, const REAL *weights, const REAL *restrict grad_output,
                                   REAL *restrict grad_value, REAL *grad_locations, REAL *grad_weights, SIZES) {
    REAL zeros[D], sink[4 * D]; /* stand in for cells outside of the map; no two cells may be the same */
    memset(zeros, 0, sizeof(zeros));
    memset(sink, 0, sizeof(sink));
    for (int64_t q = 0; q < Q; q++) {
        int64_t row = (n * Q + q) * M + m;
        const REAL *location = locations + row * L * P * 2, *weight = weights + row * L * P;
        REAL *grad_location = grad_locations + row * L * P * 2, *grad_weight = grad_weights + row * L * P;
        const REAL *restrict grad = grad_output + row * D;
        int64_t base = (n * S * M + m) * D;
        for (int64_t l = 0; l < L; l++) {
            int64_t h = shapes[2 * l], w = shapes[2 * l + 1];
            for (int64_t p = 0; p < P; p++, location += 2, weight++, grad_location += 2, grad_weight++) {
                NAME(Corners, SUFFIX) c;
                grad_location[0] = grad_location[1] = *grad_weight = 0;
                if (!NAME(find_corners, SUFFIX)(&c, location[0], location[1], base, h, w, M * D)) continue;
                const REAL *c0 = c.cell[0] < 0 ? zeros : value + c.cell[0];
                const REAL *c1 = c.cell[1] < 0 ? zeros : value + c.cell[1];
                const REAL *c2 = c.cell[2] < 0 ? zeros : value + c.cell[2];
                const REAL *c3 = c.cell[3] < 0 ? zeros : value + c.cell[3];
                REAL *restrict g0 = c.cell[0] < 0 ? sink : grad_value + c.cell[0];
                REAL *restrict g1 = c.cell[1] < 0 ? sink + D : grad_value + c.cell[1];
                REAL *restrict g2 = c.cell[2] < 0 ? sink + 2 * D : grad_value + c.cell[2];
                REAL *restrict g3 = c.cell[3] < 0 ? sink + 3 * D : grad_value + c.cell[3];
                REAL s0 = *weight * c.part[0], s1 = *weight * c.part[1];
                REAL s2 = *weight * c.part[2], s3 = *weight * c.part[3];
                REAL d0 = 0, d1 = 0, d2 = 0, d3 = 0; /* each cell's channels times the incoming gradient */
#pragma omp simd reduction(+ : d0, d1, d2, d3)
                for (int64_t d = 0; d < D; d++) {
                    REAL g = grad[d];
                    d0 += c0[d] * g;
                    d1 += c1[d] * g;
                    d2 += c2[d] * g;
                    d3 += c3[d] * g;
                    g0[d] += s0 * g;
                    g1[d] += s1 * g;
                    g2[d] += s2 * g;
                    g3[d] += s3 * g;
                }
                *grad_weight = c.part[0] * d0 + c.part[1] * d1 + c.part[2] * d2 + c.part[3] * d3;
                REAL across = (1 - c.fy) * (d1 - d0) + c.fy * (d3 - d2);
                REAL down = (1 - c.fx) * (d2 - d0) + c.fx * (d3 - d1);
                grad_location[0] = *weight * across * (REAL)w;
                grad_location[1] = *weight * down * (REAL)h;
            }
            base += h * w * M * D;
        }
    }
}

/* The usual numbers of channels as constants, so that the inner loops unroll. */
#define BY_CHANNELS(call) \
    switch (D) { \
        case 8: call(8); break; \
        case 16: call(16); break; \
        case 32: call(32); break; \
        default: call(D); \
    }

void NAME(msda_forward, SUFFIX)(const REAL *value, const int64_t *shapes, const REAL *locations, const REAL *weights,
                                REAL *output, SIZES) {
#define CALL(D) NAME(forward, SUFFIX)(nm / M, nm % M, value, shapes, locations, weights, output, N, S, M, D, L, Q, P)
#pragma omp parallel for schedule(static)
    for (int64_t nm = 0; nm < N * M; nm++) BY_CHANNELS(CALL)
#undef CALL
}

/* grad_value must be zero on entry; grad_locations and grad_weights are written whole. */
void NAME(msda_backward, SUFFIX)(const REAL *value, const int64_t *shapes, const REAL *locations, const REAL *weights,
                                 const REAL *grad_output, REAL *grad_value, REAL *grad_locations, REAL *grad_weights,
                                 SIZES) {
#define CALL(D) \
    NAME(backward, SUFFIX)(nm / M, nm % M, value, shapes, locations, weights, grad_output, grad_value, grad_locations, \
                           grad_weights, N, S, M, D, L, Q, P)
#pragma omp parallel for schedule(static)
    for (int64_t nm = 0; nm < N * M; nm++) BY_CHANNELS(CALL)
#undef CALL
}

#undef BY_CHANNELS
#endif
