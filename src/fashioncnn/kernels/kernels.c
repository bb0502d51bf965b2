/* What a step of training takes most time for: a convolution with pooling, and Adam.
 *
 * A 3×3 convolution, 2×2 max pooling and ReLU are one pass over the images, and so are their gradients.
 * Values are float32 in NHWC order. Of each pooling window's 2×2 outputs one is kept, with its place
 * (0 to 3, or 4 where ReLU let nothing through). With one input channel windows are convolved
 * directly. With more, by Winograd's minimal filtering (Lavin and Gray 2016, arXiv:1509.09308) in
 * tiles of 4×4 outputs, and of 2 along an edge where the number of windows is odd: F(4×4, 3×3) takes
 * 36 multiplications for 144, F(2×2, 3×3) 16 for 36. They are done as matrix products, one for each
 * value of a transformed patch, over blocks of tiles that stay in the processor's cache. Gradients
 * are the exact adjoints of the same three transforms.
 *
 * Threads take whole images, always the same ones, and their sums are added in order: the same
 * input on the same number of threads gives the same bytes.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#ifndef LANES /* floats in a vector register */
#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif
#endif

#define PAIR (2 * LANES)
#ifndef BLOCK
#define BLOCK 24  /* tiles worked on at once: a multiple of ROWS */
#endif
#define ROWS (LANES == 8 ? 6 : LANES == 16 ? 12 : 4) /* of the register tile, ROWS × PAIR */
#define NOWHERE 4 /* ReLU let nothing through */
#define INLINE static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));
typedef uint8_t bytes __attribute__((vector_size(LANES), aligned(1), may_alias));

typedef struct {
    long images, height, width, in, out, padding;
    long pooled; /* 1, or 0 where the convolution's own output is wanted */
} shape;

INLINE long rows_of(shape s) { return (s.height + 2 * s.padding - 2) / 2; }
INLINE long columns_of(shape s) { return (s.width + 2 * s.padding - 2) / 2; }
/* The outputs that are computed, down and across: of whole windows where they are pooled. */
INLINE long outputs_down(shape s) { return s.pooled ? 2 * rows_of(s) : s.height + 2 * s.padding - 2; }
INLINE long outputs_across(shape s) {
    return s.pooled ? 2 * columns_of(s) : s.width + 2 * s.padding - 2;
}
INLINE vec load(const float *p) { return *(const vec *)p; }
INLINE void store(float *p, vec v) { *(vec *)p = v; }
INLINE vec splat(float x) { return x - (vec){0}; }
INLINE vec choose(ivec mask, vec a, vec b) {
    return (vec)((mask & (ivec)a) | (~mask & (ivec)b));
}

typedef uint8_t quads __attribute__((vector_size(4 * LANES)));

/* The lowest byte of each lane. (GCC 12 has the shuffle, and no good way of its own.) */
INLINE bytes narrow(ivec v) {
#if !defined(__clang__) && __GNUC__ < 12
    return __builtin_convertvector(v, bytes);
#else
    quads q = (quads)v;
#if LANES == 16
    return __builtin_shufflevector(q, q, 0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60);
#elif LANES == 8
    return __builtin_shufflevector(q, q, 0, 4, 8, 12, 16, 20, 24, 28);
#else
    return __builtin_shufflevector(q, q, 0, 4, 8, 12);
#endif
#endif
}

/* Bytes as the values of lanes. (GCC 12 knows no good way of its own.) */
INLINE ivec widen(const uint8_t *p) {
#if LANES == 16 && defined(__AVX512F__)
    return (ivec)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
#elif LANES == 8 && defined(__AVX2__)
    return (ivec)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
#else
    return __builtin_convertvector(*(const bytes *)p, ivec);
#endif
}

/* The largest of four outputs, rectified, and where it was; the first one where several are. */
INLINE vec largest(const vec y[4], vec bias, uint8_t *place) {
    vec best = y[0];
    ivec where = {0};
    for (int k = 1; k < 4; k++) {
        ivec larger = (y[k] > best) | (y[k] != y[k]); /* NaN stays, as in PyTorch */
        best = choose(larger, y[k], best);
        where = (larger & k) | (~larger & where);
    }
    best += bias;
    ivec dead = best <= 0;
    if (place) {
        where = (dead & NOWHERE) | (~dead & where);
        *(bytes *)place = narrow(where);
    }
    return choose(dead, (vec){0}, best);
}

/* The gradient of four outputs from that of the one kept. */
INLINE void unpool(const float *gradient, const uint8_t *place, vec y[4]) {
    vec g = load(gradient);
    ivec where = widen(place);
    for (int k = 0; k < 4; k++) y[k] = (vec)((where == k) & (ivec)g);
}

/* c[rows × PAIR] (+)= a[rows × depth] · b[depth × PAIR] */
INLINE void multiply_tile(const int rows, const float *a, long a_row, long a_step, const float *b,
                          long b_step, float *c, long c_row, long depth, const int add) {
    vec sum[ROWS][2];
    for (int r = 0; r < rows; r++) {
        sum[r][0] = add ? load(c + r * c_row) : (vec){0};
        sum[r][1] = add ? load(c + r * c_row + LANES) : (vec){0};
    }
    for (long k = 0; k < depth; k++) {
        vec low = load(b + k * b_step), high = load(b + k * b_step + LANES);
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++) {
            vec value = splat(a[r * a_row + k * a_step]);
            sum[r][0] += value * low;
            sum[r][1] += value * high;
        }
    }
    for (int r = 0; r < rows; r++) {
        store(c + r * c_row, sum[r][0]);
        store(c + r * c_row + LANES, sum[r][1]);
    }
}

/* c[m × n] (+)= a[m × depth] · b[depth × n], n a multiple of PAIR. Rows of b and c are b_row and c_row
 * apart, their columns in panels of PAIR, which are b_panel and c_panel apart. Tiles of ROWS rows,
 * as many as leave a multiple of 4 for smaller ones. */
INLINE void multiply(long m, long n, long depth, const float *a, long a_row, long a_step,
                     const float *b, long b_row, long b_panel, float *c, long c_row, long c_panel,
                     const int add) {
    long tall = m - m % ROWS;
    while (tall > 0 && (m - tall) % 4) tall -= ROWS;
    for (long j = 0; j < n / PAIR; j++, b += b_panel, c += c_panel) {
        long i = 0;
        for (; i < tall; i += ROWS)
            multiply_tile(ROWS, a + i * a_row, a_row, a_step, b, b_row, c + i * c_row, c_row, depth, add);
        for (; i + 4 <= m; i += 4)
            multiply_tile(4, a + i * a_row, a_row, a_step, b, b_row, c + i * c_row, c_row, depth, add);
        for (; i < m; i++)
            multiply_tile(1, a + i * a_row, a_row, a_step, b, b_row, c + i * c_row, c_row, depth, add);
    }
}

/* c[m × n] = a[m × depth] · b[depth × n], b in panels. */
static __attribute__((noinline)) void product(long m, long n, long depth, const float *a,
                                              const float *b, float *c) {
    multiply(m, n, depth, a, depth, 1, b, PAIR, depth * PAIR, c, n, PAIR, 0);
}

/* c[m × n] += a[depth × m]ᵀ · b[depth × n], c in panels. */
static __attribute__((noinline)) void add_product(long m, long n, long depth, const float *a,
                                                  const float *b, float *c) {
    multiply(m, n, depth, a, 1, m, b, n, PAIR, c, PAIR, m * PAIR, 1);
}

/* Minimal filtering along one axis, F(m, 3): of m + 2 inputs m outputs with m + 2 multiplications.
 * The matrices are Lavin and Gray's; v = Bᵀd, y = Aᵀ(v ∘ Gw), and their transposes for gradients.
 * `m` is 2 or 4 and known when this is compiled. */
INLINE void of_input(const int m, const vec *d, vec *v) { /* Bᵀ d */
    if (m == 2) {
        v[0] = d[0] - d[2], v[1] = d[1] + d[2], v[2] = d[2] - d[1], v[3] = d[1] - d[3];
        return;
    }
    vec even = d[4] - 4 * d[2], odd = d[3] - 4 * d[1], half = d[4] - d[2], twice = 2 * (d[3] - d[1]);
    v[0] = 4 * d[0] - 5 * d[2] + d[4], v[5] = 4 * d[1] - 5 * d[3] + d[5];
    v[1] = even + odd, v[2] = even - odd, v[3] = half + twice, v[4] = half - twice;
}

INLINE void of_input_back(const int m, const vec *v, vec *d) { /* B v */
    if (m == 2) {
        vec mid = v[1] - v[2] + v[3];
        d[0] = v[0], d[1] = mid, d[2] = v[1] + v[2] - v[0], d[3] = -v[3];
        return;
    }
    vec sum = v[1] + v[2], far = v[3] + v[4], less = v[1] - v[2], gap = 2 * (v[3] - v[4]);
    d[0] = 4 * v[0], d[5] = v[5];
    d[1] = 4 * (v[5] - less) - gap, d[2] = -5 * v[0] - 4 * sum - far;
    d[3] = less + gap - 5 * v[5], d[4] = v[0] + sum + far;
}

INLINE void of_output(const int m, const vec *v, vec *y) { /* Aᵀ v */
    if (m == 2) {
        y[0] = v[0] + v[1] + v[2], y[1] = v[1] - v[2] - v[3];
        return;
    }
    vec sum = v[1] + v[2], far = v[3] + v[4], less = v[1] - v[2], gap = v[3] - v[4];
    y[0] = v[0] + sum + far, y[1] = less + 2 * gap, y[2] = sum + 4 * far;
    y[3] = less + 8 * gap + v[5];
}

INLINE void of_output_back(const int m, const vec *y, vec *v) { /* A y */
    if (m == 2) {
        v[0] = y[0], v[1] = y[0] + y[1], v[2] = y[0] - y[1], v[3] = -y[1];
        return;
    }
    vec even = y[0] + y[2], odd = y[1] + y[3], far = y[0] + 4 * y[2], odder = 2 * y[1] + 8 * y[3];
    v[0] = y[0], v[1] = even + odd, v[2] = even - odd, v[3] = far + odder, v[4] = far - odder;
    v[5] = y[3];
}

INLINE void of_weights(const int m, const vec *w, vec *u) { /* G w */
    if (m == 2) {
        vec even = (w[0] + w[2]) / 2, odd = w[1] / 2;
        u[0] = w[0], u[1] = even + odd, u[2] = even - odd, u[3] = w[2];
        return;
    }
    vec even = (w[0] + w[2]) / -6, odd = w[1] / -6, far = w[0] / 24 + w[2] / 6, odder = w[1] / 12;
    u[0] = w[0] / 4, u[1] = even + odd, u[2] = even - odd, u[3] = far + odder, u[4] = far - odder;
    u[5] = w[2];
}

INLINE void of_weights_back(const int m, const vec *u, vec *w) { /* Gᵀ u */
    if (m == 2) {
        vec sum = (u[1] + u[2]) / 2;
        w[0] = u[0] + sum, w[1] = (u[1] - u[2]) / 2, w[2] = sum + u[3];
        return;
    }
    vec sum = (u[1] + u[2]) / -6, far = u[3] + u[4];
    w[0] = u[0] / 4 + sum + far / 24, w[1] = (u[2] - u[1]) / 6 + (u[3] - u[4]) / 12;
    w[2] = sum + far / 6 + u[5];
}

/* One of the four kinds of tiles, of `high` × `wide` outputs, 4 or 2 each: as many of 4 as there is
 * room for, then one of 2 where one or two outputs are left, or another one of 4 for three. Outputs
 * beyond the image are zeros on their way back, and dropped. */
typedef struct {
    int high, wide;      /* outputs; inputs are 2 more */
    long rows, columns;  /* of tiles in an image */
    long top, left;      /* output where they begin */
} kind;

INLINE long tiles_along(long outputs, const int size) {
    long rest = outputs % 4;
    return size == 4 ? outputs / 4 + (rest == 3) : rest == 1 || rest == 2;
}

INLINE kind kind_of(shape s, const int high, const int wide) {
    long down = outputs_down(s), across = outputs_across(s);
    return (kind){high, wide, tiles_along(down, high), tiles_along(across, wide),
                  high == 4 ? 0 : down / 4 * 4, wide == 4 ? 0 : across / 4 * 4};
}

#define SIDE 6 /* of the largest patch */
/* Values from one matrix of a block to the next: a cache line more than the matrix takes, for powers
 * of two would all fall into the same few lines of the nearest cache. */
#define APART(channels) (BLOCK * (channels) + 16)

typedef struct {
    long image, top, left; /* of its outputs */
} place;

INLINE place place_of(kind k, long tile) {
    long tiles = k.rows * k.columns, within = tile % tiles;
    return (place){tile / tiles, k.top + within / k.columns * k.high,
                   k.left + within % k.columns * k.wide};
}

/* Where the values of a tile's patch lie; those of the padding at `outside`. */
INLINE void locate(shape s, kind k, place p, float *values, float *outside, float *at[SIDE][SIDE]) {
    float *base = values + p.image * s.height * s.width * s.in;
    for (int i = 0; i < k.high + 2; i++)
        for (int j = 0; j < k.wide + 2; j++) {
            long y = p.top - s.padding + i, x = p.left - s.padding + j;
            int inside = y >= 0 && y < s.height && x >= 0 && x < s.width;
            at[i][j] = inside ? base + (y * s.width + x) * s.in : outside;
        }
}

/* Where the windows of a tile lie in the pooled output, counted in values. */
INLINE long window(shape s, place p, int i, int j) {
    return ((p.image * rows_of(s) + p.top / 2 + i) * columns_of(s) + p.left / 2 + j) * s.out;
}

/* Where an output of a tile lies, counted in values, or -1 beyond the image. */
INLINE long output(shape s, place p, int i, int j) {
    long y = p.top + i, x = p.left + j, down = outputs_down(s), across = outputs_across(s);
    return y < down && x < across ? ((p.image * down + y) * across + x) * s.out : -1;
}

/* v = Bᵀ d B of each tile, (patch, BLOCK, in). */
INLINE void transform_input(shape s, kind k, const float *x, const float *zeros, long first,
                            long count, float *v) {
    const int high = k.high + 2, wide = k.wide + 2;
    for (long t = 0; t < count; t++) {
        float *at[SIDE][SIDE];
        locate(s, k, place_of(k, first + t), (float *)x, (float *)zeros, at);
        for (long c = 0; c < s.in; c += LANES) {
            vec half[SIDE][SIDE];
#pragma GCC unroll 6
            for (int j = 0; j < wide; j++) {
                vec d[SIDE], to[SIDE];
                for (int i = 0; i < high; i++) d[i] = load(at[i][j] + c);
                of_input(k.high, d, to);
                for (int i = 0; i < high; i++) half[i][j] = to[i];
            }
#pragma GCC unroll 6
            for (int i = 0; i < high; i++) {
                vec to[SIDE];
                of_input(k.wide, half[i], to);
                for (int j = 0; j < wide; j++)
                    store(v + (i * wide + j) * APART(s.in) + t * s.in + c, to[j]);
            }
        }
    }
}

/* Adds B dv Bᵀ of each tile to the gradient of the input. */
INLINE void transform_input_back(shape s, kind k, const float *dv, float *trash, long first,
                                 long count, float *dx) {
    const int high = k.high + 2, wide = k.wide + 2;
    for (long t = 0; t < count; t++) {
        float *at[SIDE][SIDE];
        locate(s, k, place_of(k, first + t), dx, trash, at);
        for (long c = 0; c < s.in; c += LANES) {
            vec half[SIDE][SIDE];
#pragma GCC unroll 6
            for (int j = 0; j < wide; j++) {
                vec from[SIDE], d[SIDE];
                for (int i = 0; i < high; i++)
                    from[i] = load(dv + (i * wide + j) * APART(s.in) + t * s.in + c);
                of_input_back(k.high, from, d);
                for (int i = 0; i < high; i++) half[i][j] = d[i];
            }
#pragma GCC unroll 6
            for (int i = 0; i < high; i++) {
                vec d[SIDE];
                of_input_back(k.wide, half[i], d);
                for (int j = 0; j < wide; j++) store(at[i][j] + c, load(at[i][j] + c) + d[j]);
            }
        }
    }
}

/* Aᵀ m A of each tile, pooled or as it is. */
INLINE void transform_output(shape s, kind k, const float *m, const float *bias, long first,
                             long count, float *y, uint8_t *places) {
    const int high = k.high + 2, wide = k.wide + 2;
    for (long t = 0; t < count; t++) {
        place p = place_of(k, first + t);
        for (long c = 0; c < s.out; c += LANES) {
            vec half[SIDE][SIDE], full[4][4];
#pragma GCC unroll 6
            for (int j = 0; j < wide; j++) {
                vec from[SIDE], to[4];
                for (int i = 0; i < high; i++)
                    from[i] = load(m + (i * wide + j) * APART(s.out) + t * s.out + c);
                of_output(k.high, from, to);
                for (int i = 0; i < k.high; i++) half[i][j] = to[i];
            }
#pragma GCC unroll 4
            for (int i = 0; i < k.high; i++) of_output(k.wide, half[i], full[i]);
            for (int i = 0; i < k.high && !s.pooled; i++)
                for (int j = 0; j < k.wide; j++) {
                    long at = output(s, p, i, j);
                    if (at >= 0) store(y + at + c, full[i][j]);
                }
            for (int i = 0; i < k.high / 2 && s.pooled; i++)
                for (int j = 0; j < k.wide / 2; j++) {
                    vec four[4] = {full[2 * i][2 * j], full[2 * i][2 * j + 1], full[2 * i + 1][2 * j],
                                   full[2 * i + 1][2 * j + 1]};
                    long at = window(s, p, i, j) + c;
                    store(y + at, largest(four, load(bias + c), places ? places + at : 0));
                }
        }
    }
}

/* dm = A dy Aᵀ of each tile; where it was pooled, adds the gradient of the bias to db. */
INLINE void transform_output_back(shape s, kind k, const float *dy, const uint8_t *places, long first,
                                  long count, float *dm, float *db) {
    const int high = k.high + 2, wide = k.wide + 2;
    for (long t = 0; t < count; t++) {
        place p = place_of(k, first + t);
        for (long c = 0; c < s.out; c += LANES) {
            vec full[4][4], half[SIDE][4], sum = load(db + c);
            for (int i = 0; i < k.high && !s.pooled; i++)
                for (int j = 0; j < k.wide; j++) {
                    long at = output(s, p, i, j);
                    full[i][j] = at >= 0 ? load(dy + at + c) : (vec){0};
                }
            for (int i = 0; i < k.high / 2 && s.pooled; i++)
                for (int j = 0; j < k.wide / 2; j++) {
                    long at = window(s, p, i, j) + c;
                    vec four[4];
                    unpool(dy + at, places + at, four);
                    full[2 * i][2 * j] = four[0], full[2 * i][2 * j + 1] = four[1];
                    full[2 * i + 1][2 * j] = four[2], full[2 * i + 1][2 * j + 1] = four[3];
                    sum += four[0] + four[1] + four[2] + four[3];
                }
            store(db + c, sum);
#pragma GCC unroll 4
            for (int j = 0; j < k.wide; j++) {
                vec from[4], to[SIDE];
                for (int i = 0; i < k.high; i++) from[i] = full[i][j];
                of_output_back(k.high, from, to);
                for (int i = 0; i < high; i++) half[i][j] = to[i];
            }
#pragma GCC unroll 6
            for (int i = 0; i < high; i++) {
                vec to[SIDE];
                of_output_back(k.wide, half[i], to);
                for (int j = 0; j < wide; j++)
                    store(dm + (i * wide + j) * APART(s.out) + t * s.out + c, to[j]);
            }
        }
    }
}

/* u = G w Gᵀ, (patch, pairs) of w (9, pairs). */
INLINE void transform_weights(kind k, const float *w, long pairs, float *u) {
    for (long c = 0; c < pairs; c += LANES) {
        vec half[SIDE][3];
        for (int j = 0; j < 3; j++) {
            vec from[3], to[SIDE];
            for (int i = 0; i < 3; i++) from[i] = load(w + (3 * i + j) * pairs + c);
            of_weights(k.high, from, to);
            for (int i = 0; i < k.high + 2; i++) half[i][j] = to[i];
        }
        for (int i = 0; i < k.high + 2; i++) {
            vec to[SIDE];
            of_weights(k.wide, half[i], to);
            for (int j = 0; j < k.wide + 2; j++) store(u + (i * (k.wide + 2) + j) * pairs + c, to[j]);
        }
    }
}

/* Adds Gᵀ du G to dw (9, pairs). */
INLINE void transform_weights_back(kind k, const float *du, long pairs, float *dw) {
    for (long c = 0; c < pairs; c += LANES) {
        vec half[3][SIDE];
        for (int j = 0; j < k.wide + 2; j++) {
            vec from[SIDE], to[3];
            for (int i = 0; i < k.high + 2; i++) from[i] = load(du + (i * (k.wide + 2) + j) * pairs + c);
            of_weights_back(k.high, from, to);
            for (int i = 0; i < 3; i++) half[i][j] = to[i];
        }
        for (int i = 0; i < 3; i++) {
            vec to[3];
            of_weights_back(k.wide, half[i], to);
            for (int j = 0; j < 3; j++) {
                float *at = dw + (3 * i + j) * pairs + c;
                store(at, load(at) + to[j]);
            }
        }
    }
}

/* One image of one channel within its padding, which stays as it is: zeros. */
static void pad_image(shape s, const float *x, long image, float *padded) {
    long width = s.width + 2 * s.padding;
    for (long y = 0; y < s.height; y++)
        memcpy(padded + (y + s.padding) * width + s.padding,
               x + (image * s.height + y) * s.width, sizeof(float) * s.width);
}

static void forward_one_channel(shape s, const float *x, const float *w, const float *bias, float *y,
                                uint8_t *places, long from, long to, float *padded) {
    long width = s.width + 2 * s.padding, rows = rows_of(s), columns = columns_of(s);
    for (long image = from; image < to; image++) {
        pad_image(s, x, image, padded);
        for (long c = 0; c < s.out; c += LANES) {
            vec tap[9], b = load(bias + c);
            for (int k = 0; k < 9; k++) tap[k] = load(w + k * s.out + c);
            for (long r = 0; r < rows; r++)
                for (long q = 0; q < columns; q++) {
                    const float *patch = padded + 2 * r * width + 2 * q;
                    vec sum[4] = {{0}, {0}, {0}, {0}};
#pragma GCC unroll 4
                    for (int i = 0; i < 4; i++)
#pragma GCC unroll 4
                        for (int j = 0; j < 4; j++) {
                            vec value = splat(patch[i * width + j]);
#pragma GCC unroll 4
                            for (int k = 0; k < 4; k++) {
                                int down = i - k / 2, right = j - k % 2;
                                if (down >= 0 && down < 3 && right >= 0 && right < 3)
                                    sum[k] += value * tap[3 * down + right];
                            }
                        }
                    long at = ((image * rows + r) * columns + q) * s.out + c;
                    store(y + at, largest(sum, b, places ? places + at : 0));
                }
        }
    }
}

static void backward_one_channel(shape s, const float *x, const float *dy, const uint8_t *places,
                                 long from, long to, float *padded, float *dw, float *db) {
    long width = s.width + 2 * s.padding, rows = rows_of(s), columns = columns_of(s);
    for (long image = from; image < to; image++) {
        pad_image(s, x, image, padded);
        for (long c = 0; c < s.out; c += LANES) {
            vec tap[9], b = load(db + c);
            for (int k = 0; k < 9; k++) tap[k] = load(dw + k * s.out + c);
            for (long r = 0; r < rows; r++)
                for (long q = 0; q < columns; q++) {
                    const float *patch = padded + 2 * r * width + 2 * q;
                    long at = ((image * rows + r) * columns + q) * s.out + c;
                    vec g[4];
                    unpool(dy + at, places + at, g);
                    b += g[0] + g[1] + g[2] + g[3];
#pragma GCC unroll 4
                    for (int i = 0; i < 4; i++)
#pragma GCC unroll 4
                        for (int j = 0; j < 4; j++) {
                            vec value = splat(patch[i * width + j]);
#pragma GCC unroll 4
                            for (int k = 0; k < 4; k++) {
                                int down = i - k / 2, right = j - k % 2;
                                if (down >= 0 && down < 3 && right >= 0 && right < 3)
                                    tap[3 * down + right] += value * g[k];
                            }
                        }
                }
            store(db + c, b);
            for (int k = 0; k < 9; k++) store(dw + k * s.out + c, tap[k]);
        }
    }
}

static long padded_size(shape s) {
    return (s.height + 2 * s.padding) * (s.width + 2 * s.padding);
}

INLINE void share(long n, int part, int parts, long *from, long *to) {
    *from = n * part / parts;
    *to = n * (part + 1) / parts;
}

/* Pictures `from` up to `to`, by tiles of one kind; u (patch, pairs). */
INLINE void forward_kind(shape s, const int high, const int wide, const float *x, const float *u,
                         const float *bias, float *y, uint8_t *places, long from, long to,
                         float *scratch) {
    const kind k = kind_of(s, high, wide);
    const long tiles = k.rows * k.columns, patch = (high + 2) * (wide + 2);
    float *zeros = scratch, *v = zeros + s.in, *m = v + patch * APART(s.in);
    for (long first = from * tiles; first < to * tiles; first += BLOCK) {
        long left = to * tiles - first, count = left < BLOCK ? left : BLOCK;
        transform_input(s, k, x, zeros, first, count, v);
        for (long i = 0; i < patch; i++)
            product(BLOCK, s.out, s.in, v + i * APART(s.in), u + i * s.in * s.out,
                    m + i * APART(s.out));
        transform_output(s, k, m, bias, first, count, y, places);
    }
}

/* The same for gradients; u (patch, pairs) transposed, dw (9, pairs), du as large as u; dx may be null. */
INLINE void backward_kind(shape s, const int high, const int wide, const float *x, const float *u,
                          const float *dy, const uint8_t *places, float *dx, float *dw, float *db,
                          long from, long to, float *scratch) {
    const kind k = kind_of(s, high, wide);
    const long tiles = k.rows * k.columns, patch = (high + 2) * (wide + 2), pairs = s.in * s.out;
    if (!tiles) return;
    float *zeros = scratch, *trash = zeros + s.in, *v = trash + s.in, *dv = v + patch * APART(s.in),
          *dm = dv + patch * APART(s.in), *du = dm + patch * APART(s.out);
    memset(du, 0, sizeof(float) * patch * pairs);
    for (long first = from * tiles; first < to * tiles; first += BLOCK) {
        long left = to * tiles - first, count = left < BLOCK ? left : BLOCK;
        transform_input(s, k, x, zeros, first, count, v);
        transform_output_back(s, k, dy, places, first, count, dm, db);
        for (long i = 0; i < patch; i++) {
            const float *vi = v + i * APART(s.in), *dmi = dm + i * APART(s.out);
            add_product(s.in, s.out, count, vi, dmi, du + i * pairs);
            if (dx) product(BLOCK, s.in, s.out, dmi, u + i * pairs, dv + i * APART(s.in));
        }
        if (dx) transform_input_back(s, k, dv, trash, first, count, dx);
    }
    transform_weights_back(k, du, pairs, dw);
}

/* The kinds of tiles, and where the values of their patches begin among those of all. */
#define EACH_KIND(DO) DO(4, 4, 0) DO(4, 2, 36) DO(2, 4, 60) DO(2, 2, 84)
#define PATCHES 100

/* Where the pair of an input and an output lies among all, as matrices (in, out) in panels of PAIR
 * outputs, so that a product reads them in one run; `transposed`, as (out, in) in panels of inputs. */
INLINE long pair_of(shape s, long o, long i, int transposed) {
    const long column = transposed ? i : o, row = transposed ? o : i, rows = transposed ? s.out : s.in;
    return column / PAIR * (rows * PAIR) + row * PAIR + column % PAIR;
}

/* Weights (out, in, 3, 3) with strides in values, as (9, pairs). */
static void take_weights(shape s, const float *w, const long stride[4], int transposed, float *to) {
    for (int k = 0; k < 9; k++)
        for (long o = 0; o < s.out; o++)
            for (long i = 0; i < s.in; i++)
                to[k * s.in * s.out + pair_of(s, o, i, transposed)] =
                    w[o * stride[0] + i * stride[1] + k / 3 * stride[2] + k % 3 * stride[3]];
}

/* u of every kind, from weights as `take_weights` gives them. */
static void transform_all_weights(shape s, const float *w, float *u) {
    const long pairs = s.in * s.out;
#define DO(high, wide, at) transform_weights(kind_of(s, high, wide), w, pairs, u + at * pairs);
    EACH_KIND(DO)
#undef DO
}

static float *allocate(long values) {
    return aligned_alloc(64, (sizeof(float) * values + 63) / 64 * 64);
}

/* A convolution, pooled and rectified (then with bias and, to learn, places) or as it is. With one
 * input channel it has to be pooled. Returns 0, or 1 where there is not enough memory. */
int convolve(const float *x, const float *w, const long *stride, const float *bias, float *y,
                      uint8_t *places, const shape *shape_of, int threads) {
    const shape s = *shape_of;
    const int direct = s.in == 1;
    const long pairs = s.in * s.out;
    const long each = direct ? padded_size(s) : SIDE * SIDE * (APART(s.in) + APART(s.out)) + s.in;
    float *weights = allocate((9 + (direct ? 0 : PATCHES)) * pairs), *u = weights + 9 * pairs;
    float *scratch = calloc(each * threads, sizeof(float));
    if (!weights || !scratch) return free(weights), free(scratch), 1;
    take_weights(s, w, stride, 0, weights);
    if (!direct) transform_all_weights(s, weights, u);
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int part = 0; part < threads; part++) {
        long from, to;
        share(s.images, part, threads, &from, &to);
        float *mine = scratch + each * part;
        if (direct) {
            forward_one_channel(s, x, weights, bias, y, places, from, to, mine);
            continue;
        }
#define DO(high, wide, at) \
    forward_kind(s, high, wide, x, u + at * pairs, bias, y, places, from, to, mine);
        EACH_KIND(DO)
#undef DO
    }
    return free(weights), free(scratch), 0;
}

/* Its gradients. dx may be null; it is filled, not added to. db is the pooled one's alone. */
int convolve_back(const float *x, const float *w, const long *stride, const float *dy,
                       const uint8_t *places, float *dx, float *dw, const long *dw_stride, float *db,
                       const shape *shape_of, int threads) {
    const shape s = *shape_of;
    const int direct = s.in == 1;
    const long pairs = s.in * s.out, sums = 9 * pairs + s.out;
    const long buffers = direct ? padded_size(s)
                                : SIDE * SIDE * (2 * APART(s.in) + APART(s.out) + pairs) + 2 * s.in;
    const long each = sums + buffers;
    float *weights = allocate((9 + PATCHES) * pairs), *u = weights + 9 * pairs;
    float *scratch = calloc(each * threads, sizeof(float));
    if (!weights || !scratch) return free(weights), free(scratch), 1;
    if (dx && !direct) {
        take_weights(s, w, stride, 1, weights);
        transform_all_weights(s, weights, u);
    }
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int part = 0; part < threads; part++) {
        long from, to;
        share(s.images, part, threads, &from, &to);
        float *my_dw = scratch + each * part, *my_db = my_dw + 9 * pairs, *mine = my_db + s.out;
        if (direct) {
            backward_one_channel(s, x, dy, places, from, to, mine, my_dw, my_db);
            continue;
        }
        const long image = s.height * s.width * s.in;
        if (dx) memset(dx + from * image, 0, sizeof(float) * (to - from) * image);
#define DO(high, wide, at)                                                                       \
    backward_kind(s, high, wide, x, u + at * pairs, dy, places, dx, my_dw, my_db, from, to, mine);
        EACH_KIND(DO)
#undef DO
    }
    for (int part = 1; part < threads; part++)
        for (long i = 0; i < sums; i++) scratch[i] += scratch[each * part + i];
    for (int k = 0; k < 9; k++)
        for (long o = 0; o < s.out; o++)
            for (long i = 0; i < s.in; i++)
                dw[o * dw_stride[0] + i * dw_stride[1] + k / 3 * dw_stride[2] + k % 3 * dw_stride[3]] =
                    scratch[k * pairs + pair_of(s, o, i, 0)];
    if (s.pooled) memcpy(db, scratch + 9 * pairs, sizeof(float) * s.out);
    return free(weights), free(scratch), 0;
}

typedef struct {
    float size;           /* learning rate / (1 - beta1ᵗ) */
    float gain1, gain2;   /* 1 - beta */
    float beta2, eps;
    float root;           /* of 1 - beta2ᵗ */
    float decay, shrink;  /* added to the gradient times the weight; what weights shrink to first */
} adam;

/* Values under 1.2e-38 count as zero on this thread from now on; returns what to restore. Processors
 * compute with them a hundred times as slowly as with others. Elsewhere than on x86 nothing is done. */
INLINE unsigned flush_subnormals(void) {
    unsigned was = 0;
#if defined(__SSE2__)
    was = _mm_getcsr();
    _mm_setcsr(was | 0x8040); /* FTZ and DAZ, Intel's manual, volume 1, 10.2.3 */
#endif
    return was;
}

INLINE void restore_subnormals(unsigned was) {
#if defined(__SSE2__)
    _mm_setcsr(was);
#endif
    (void)was;
}

/* A step of Adam (Kingma and Ba 2015, arXiv:1412.6980) over n values. Weights that nothing but decay
 * moves any more shrink for ever, and would be subnormal for most of it. */
void adam_step(float *w, const float *gradient, float *mean, float *square, long n,
               const adam *how, int threads) {
    const adam a = *how;
#pragma omp parallel num_threads(threads)
    {
        const unsigned was = flush_subnormals();
#pragma omp for simd schedule(static)
        for (long i = 0; i < n; i++) {
            float g = gradient[i] + a.decay * w[i];
            float m = mean[i] + a.gain1 * (g - mean[i]);
            float v = a.beta2 * square[i] + a.gain2 * g * g;
            mean[i] = m, square[i] = v;
            w[i] = a.shrink * w[i] - a.size * m / (__builtin_sqrtf(v) / a.root + a.eps);
        }
        restore_subnormals(was);
    }
}

/* Floats in a vector register: sizes of channels must be multiples of twice as many. */
int lanes(void) { return LANES; }

/* How many threads a parallel region of so many really has. */
int team(int threads) {
    int count = 0;
#pragma omp parallel num_threads(threads) reduction(+ : count)
    count += 1;
    return count;
}
