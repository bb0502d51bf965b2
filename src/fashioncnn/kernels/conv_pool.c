/* A 3×3 convolution, 2×2 max pooling and ReLU as one pass over the pictures, and its gradients.
 *
 * Values are float32 in NHWC order. One tile is one pooling window: a 4×4 patch of the input that
 * gives 2×2 outputs, of which one is kept, with its place (0 to 3, or 4 where ReLU let nothing
 * through). With one input channel the tile is convolved directly. With more, by Winograd's
 * minimal filtering F(2×2, 3×3) (Lavin and Gray 2016, arXiv:1509.09308): 16 multiplications a tile
 * and channel pair in place of 36, done as 16 matrix products over blocks of tiles that stay in
 * the processor's cache. Gradients are the exact adjoints of the same three transforms.
 *
 * Threads take whole pictures, always the same ones, and their sums are added in order: the same
 * input on the same number of threads gives the same bytes.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__AVX2__)
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
#define WINDOW 16 /* values of a 4×4 patch */
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
    long pictures, height, width, in, out, padding;
} shape;

INLINE long rows_of(shape s) { return (s.height + 2 * s.padding - 2) / 2; }
INLINE long columns_of(shape s) { return (s.width + 2 * s.padding - 2) / 2; }
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
INLINE void pool(const vec y[4], vec bias, float *kept, uint8_t *place) {
    vec best = y[0];
    ivec where = {0};
    for (int k = 1; k < 4; k++) {
        ivec larger = (y[k] > best) | (y[k] != y[k]); /* NaN stays, as in PyTorch */
        best = choose(larger, y[k], best);
        where = (larger & k) | (~larger & where);
    }
    best += bias;
    ivec dead = best <= 0;
    store(kept, choose(dead, (vec){0}, best));
    if (place) {
        where = (dead & NOWHERE) | (~dead & where);
        *(bytes *)place = narrow(where);
    }
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

/* c[m × n] (+)= a[m × depth] · b[depth × n], n a multiple of PAIR, b and c with rows of n values.
 * Tiles of ROWS rows, as many as leave a multiple of 4 for smaller ones. */
INLINE void multiply(long m, long n, long depth, const float *a, long a_row, long a_step,
                     const float *b, float *c, const int add) {
    long tall = m - m % ROWS;
    while (tall > 0 && (m - tall) % 4) tall -= ROWS;
    for (long j = 0; j < n; j += PAIR) {
        long i = 0;
        for (; i < tall; i += ROWS)
            multiply_tile(ROWS, a + i * a_row, a_row, a_step, b + j, n, c + i * n + j, n, depth, add);
        for (; i + 4 <= m; i += 4)
            multiply_tile(4, a + i * a_row, a_row, a_step, b + j, n, c + i * n + j, n, depth, add);
        for (; i < m; i++)
            multiply_tile(1, a + i * a_row, a_row, a_step, b + j, n, c + i * n + j, n, depth, add);
    }
}

/* Where the 16 values of a tile lie; those of the padding at `outside`. */
INLINE void locate(shape s, long tile, float *values, float *outside, float *at[WINDOW]) {
    long columns = columns_of(s), tiles = rows_of(s) * columns;
    long picture = tile / tiles, top = tile % tiles / columns * 2 - s.padding,
         left = tile % columns * 2 - s.padding;
    float *base = values + picture * s.height * s.width * s.in;
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) {
            long y = top + i, x = left + j;
            int inside = y >= 0 && y < s.height && x >= 0 && x < s.width;
            at[4 * i + j] = inside ? base + (y * s.width + x) * s.in : outside;
        }
}

/* v = Bᵀ d B of each tile, (16, BLOCK, in). */
static void transform_input(shape s, const float *x, const float *zeros, long first, long count,
                            float *v) {
    for (long t = 0; t < count; t++) {
        float *at[WINDOW];
        locate(s, first + t, (float *)x, (float *)zeros, at);
        for (long c = 0; c < s.in; c += LANES) {
            vec d[4][4];
            for (int j = 0; j < 4; j++) {
                vec a = load(at[j] + c), b = load(at[4 + j] + c), e = load(at[8 + j] + c),
                    f = load(at[12 + j] + c);
                d[0][j] = a - e, d[1][j] = b + e, d[2][j] = e - b, d[3][j] = b - f;
            }
            float *to = v + t * s.in + c;
            for (int i = 0; i < 4; i++) {
                const long step = BLOCK * s.in;
                store(to + (4 * i + 0) * step, d[i][0] - d[i][2]);
                store(to + (4 * i + 1) * step, d[i][1] + d[i][2]);
                store(to + (4 * i + 2) * step, d[i][2] - d[i][1]);
                store(to + (4 * i + 3) * step, d[i][1] - d[i][3]);
            }
        }
    }
}

/* Adds B dv Bᵀ of each tile to the gradient of the input. */
static void transform_input_gradient(shape s, const float *dv, float *trash, long first, long count,
                                     float *dx) {
    const long step = BLOCK * s.in;
    for (long t = 0; t < count; t++) {
        float *at[WINDOW];
        locate(s, first + t, dx, trash, at);
        for (long c = 0; c < s.in; c += LANES) {
            const float *from = dv + t * s.in + c;
            vec d[4][4];
            for (int j = 0; j < 4; j++) {
                vec a = load(from + j * step), b = load(from + (4 + j) * step),
                    e = load(from + (8 + j) * step), f = load(from + (12 + j) * step);
                d[0][j] = a, d[1][j] = b - e + f, d[2][j] = b + e - a, d[3][j] = -f;
            }
            for (int i = 0; i < 4; i++) {
                vec a = d[i][0], b = d[i][1], e = d[i][2], f = d[i][3];
                vec all[4] = {a, b - e + f, b + e - a, -f};
                for (int j = 0; j < 4; j++)
                    store(at[4 * i + j] + c, load(at[4 * i + j] + c) + all[j]);
            }
        }
    }
}

/* Aᵀ m A of each tile, pooled. */
static void transform_output(shape s, const float *m, const float *bias, long first, long count,
                             float *y, uint8_t *places) {
    const long step = BLOCK * s.out;
    for (long t = 0; t < count; t++)
        for (long c = 0; c < s.out; c += LANES) {
            const float *from = m + t * s.out + c;
            vec d[2][4];
            for (int j = 0; j < 4; j++) {
                vec a = load(from + j * step), b = load(from + (4 + j) * step),
                    e = load(from + (8 + j) * step), f = load(from + (12 + j) * step);
                d[0][j] = a + b + e, d[1][j] = b - e - f;
            }
            vec four[4];
            for (int i = 0; i < 2; i++) {
                four[2 * i] = d[i][0] + d[i][1] + d[i][2];
                four[2 * i + 1] = d[i][1] - d[i][2] - d[i][3];
            }
            long at = (first + t) * s.out + c;
            pool(four, load(bias + c), y + at, places ? places + at : 0);
        }
}

/* dm = A dy Aᵀ of each tile; adds the gradient of the bias to db. */
static void transform_output_gradient(shape s, const float *dy, const uint8_t *places, long first,
                                      long count, float *dm, float *db) {
    const long step = BLOCK * s.out;
    for (long t = 0; t < count; t++)
        for (long c = 0; c < s.out; c += LANES) {
            long at = (first + t) * s.out + c;
            vec y[4];
            unpool(dy + at, places + at, y);
            store(db + c, load(db + c) + (y[0] + y[1] + y[2] + y[3]));
            vec d[4][2];
            for (int j = 0; j < 2; j++) {
                vec a = y[j], b = y[2 + j];
                d[0][j] = a, d[1][j] = a + b, d[2][j] = a - b, d[3][j] = -b;
            }
            float *to = dm + t * s.out + c;
            for (int i = 0; i < 4; i++) {
                vec a = d[i][0], b = d[i][1];
                store(to + (4 * i + 0) * step, a);
                store(to + (4 * i + 1) * step, a + b);
                store(to + (4 * i + 2) * step, a - b);
                store(to + (4 * i + 3) * step, -b);
            }
        }
}

/* u = G w Gᵀ, (16, in, out), or with `transposed` (16, out, in); w has strides in values. */
static void transform_weights(shape s, const float *w, const long stride[4], int transposed,
                              float *u) {
    for (long o = 0; o < s.out; o++)
        for (long i = 0; i < s.in; i++) {
            const float *g = w + o * stride[0] + i * stride[1];
            float half[4][3];
            for (int c = 0; c < 3; c++) {
                float a = g[c * stride[3]], b = g[stride[2] + c * stride[3]],
                      e = g[2 * stride[2] + c * stride[3]];
                half[0][c] = a, half[1][c] = (a + b + e) / 2, half[2][c] = (a - b + e) / 2;
                half[3][c] = e;
            }
            long at = transposed ? o * s.in + i : i * s.out + o, step = s.in * s.out;
            for (int r = 0; r < 4; r++) {
                float a = half[r][0], b = half[r][1], e = half[r][2];
                u[(4 * r + 0) * step + at] = a;
                u[(4 * r + 1) * step + at] = (a + b + e) / 2;
                u[(4 * r + 2) * step + at] = (a - b + e) / 2;
                u[(4 * r + 3) * step + at] = e;
            }
        }
}

/* dw = Gᵀ du G */
static void transform_weight_gradient(shape s, const float *du, const long stride[4], float *dw) {
    const long step = s.in * s.out;
    for (long o = 0; o < s.out; o++)
        for (long i = 0; i < s.in; i++) {
            const float *from = du + i * s.out + o;
            float half[3][4];
            for (int c = 0; c < 4; c++) {
                float a = from[c * step], b = from[(4 + c) * step], e = from[(8 + c) * step],
                      f = from[(12 + c) * step];
                half[0][c] = a + (b + e) / 2, half[1][c] = (b - e) / 2, half[2][c] = (b + e) / 2 + f;
            }
            float *to = dw + o * stride[0] + i * stride[1];
            for (int r = 0; r < 3; r++) {
                float a = half[r][0], b = half[r][1], e = half[r][2], f = half[r][3];
                to[r * stride[2]] = a + (b + e) / 2;
                to[r * stride[2] + stride[3]] = (b - e) / 2;
                to[r * stride[2] + 2 * stride[3]] = (b + e) / 2 + f;
            }
        }
}

/* One picture of one channel within its padding, which stays as it is: zeros. */
static void pad_picture(shape s, const float *x, long picture, float *padded) {
    long width = s.width + 2 * s.padding;
    for (long y = 0; y < s.height; y++)
        memcpy(padded + (y + s.padding) * width + s.padding,
               x + (picture * s.height + y) * s.width, sizeof(float) * s.width);
}

static void forward_one_channel(shape s, const float *x, const float *w, const float *bias, float *y,
                                uint8_t *places, long from, long to, float *padded) {
    long width = s.width + 2 * s.padding, rows = rows_of(s), columns = columns_of(s);
    for (long picture = from; picture < to; picture++) {
        pad_picture(s, x, picture, padded);
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
                    long at = ((picture * rows + r) * columns + q) * s.out + c;
                    pool(sum, b, y + at, places ? places + at : 0);
                }
        }
    }
}

static void backward_one_channel(shape s, const float *x, const float *dy, const uint8_t *places,
                                 long from, long to, float *padded, float *dw, float *db) {
    long width = s.width + 2 * s.padding, rows = rows_of(s), columns = columns_of(s);
    for (long picture = from; picture < to; picture++) {
        pad_picture(s, x, picture, padded);
        for (long c = 0; c < s.out; c += LANES) {
            vec tap[9], b = load(db + c);
            for (int k = 0; k < 9; k++) tap[k] = load(dw + k * s.out + c);
            for (long r = 0; r < rows; r++)
                for (long q = 0; q < columns; q++) {
                    const float *patch = padded + 2 * r * width + 2 * q;
                    long at = ((picture * rows + r) * columns + q) * s.out + c;
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

/* Returns 0, or 1 where there is not enough memory. */
int conv_pool_forward(const float *x, const float *w, const long *stride, const float *bias, float *y,
                      uint8_t *places, const shape *shape_of, int threads) {
    const shape s = *shape_of;
    const long tiles = rows_of(s) * columns_of(s);
    const int direct = s.in == 1;
    const long weights = direct ? 9 * s.out : WINDOW * s.in * s.out;
    const long each = direct ? padded_size(s) : WINDOW * BLOCK * (s.in + s.out) + s.in;
    float *u = aligned_alloc(64, (sizeof(float) * weights + 63) / 64 * 64);
    float *scratch = calloc(each * threads, sizeof(float));
    if (!u || !scratch) return free(u), free(scratch), 1;
    if (direct)
        for (long o = 0; o < s.out; o++)
            for (int k = 0; k < 9; k++)
                u[k * s.out + o] = w[o * stride[0] + k / 3 * stride[2] + k % 3 * stride[3]];
    else
        transform_weights(s, w, stride, 0, u);
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int part = 0; part < threads; part++) {
        long from, to;
        share(s.pictures, part, threads, &from, &to);
        float *mine = scratch + each * part;
        if (direct) {
            forward_one_channel(s, x, u, bias, y, places, from, to, mine);
            continue;
        }
        float *zeros = mine, *v = zeros + s.in, *m = v + WINDOW * BLOCK * s.in;
        for (long first = from * tiles; first < to * tiles; first += BLOCK) {
            long left = to * tiles - first, count = left < BLOCK ? left : BLOCK;
            transform_input(s, x, zeros, first, count, v);
            for (int k = 0; k < WINDOW; k++)
                multiply(BLOCK, s.out, s.in, v + k * BLOCK * s.in, s.in, 1, u + k * s.in * s.out,
                         m + k * BLOCK * s.out, 0);
            transform_output(s, m, bias, first, count, y, places);
        }
    }
    return free(u), free(scratch), 0;
}

/* dx may be null; it is filled, not added to. Returns as the above. */
int conv_pool_backward(const float *x, const float *w, const long *stride, const float *dy,
                       const uint8_t *places, float *dx, float *dw, const long *dw_stride, float *db,
                       const shape *shape_of, int threads) {
    const shape s = *shape_of;
    const long tiles = rows_of(s) * columns_of(s);
    const int direct = s.in == 1;
    const long weights = direct ? 9 * s.out : WINDOW * s.in * s.out;
    const long buffers = direct ? padded_size(s) : WINDOW * BLOCK * (2 * s.in + s.out) + 2 * s.in;
    const long each = weights + s.out + buffers;
    float *u = aligned_alloc(64, (sizeof(float) * weights + 63) / 64 * 64);
    float *scratch = calloc(each * threads, sizeof(float));
    if (!u || !scratch) return free(u), free(scratch), 1;
    if (dx && !direct) transform_weights(s, w, stride, 1, u);
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int part = 0; part < threads; part++) {
        long from, to;
        share(s.pictures, part, threads, &from, &to);
        float *du = scratch + each * part, *mine_db = du + weights, *zeros = mine_db + s.out;
        if (direct) {
            backward_one_channel(s, x, dy, places, from, to, zeros, du, mine_db);
            continue;
        }
        float *trash = zeros + s.in, *v = trash + s.in, *dv = v + WINDOW * BLOCK * s.in,
              *dm = dv + WINDOW * BLOCK * s.in;
        const long picture = s.height * s.width * s.in;
        if (dx) memset(dx + from * picture, 0, sizeof(float) * (to - from) * picture);
        for (long first = from * tiles; first < to * tiles; first += BLOCK) {
            long left = to * tiles - first, count = left < BLOCK ? left : BLOCK;
            transform_input(s, x, zeros, first, count, v);
            transform_output_gradient(s, dy, places, first, count, dm, mine_db);
            for (int k = 0; k < WINDOW; k++) {
                const float *vk = v + k * BLOCK * s.in, *dmk = dm + k * BLOCK * s.out;
                multiply(s.in, s.out, count, vk, 1, s.in, dmk, du + k * s.in * s.out, 1);
                if (dx)
                    multiply(BLOCK, s.in, s.out, dmk, s.out, 1, u + k * s.in * s.out,
                             dv + k * BLOCK * s.in, 0);
            }
            if (dx) transform_input_gradient(s, dv, trash, first, count, dx);
        }
    }
    for (int part = 1; part < threads; part++)
        for (long i = 0; i < weights + s.out; i++) scratch[i] += scratch[each * part + i];
    if (direct)
        for (long o = 0; o < s.out; o++)
            for (int k = 0; k < 9; k++)
                dw[o * dw_stride[0] + k / 3 * dw_stride[2] + k % 3 * dw_stride[3]] =
                    scratch[k * s.out + o];
    else
        transform_weight_gradient(s, scratch, dw_stride, dw);
    memcpy(db, scratch + weights, sizeof(float) * s.out);
    return free(u), free(scratch), 0;
}

/* The transpose of a matrix that the nearest cache holds: reads jump, writes run on. */
INLINE void turn(long rows, long columns, const float *from, float *to) {
    for (long c = 0; c < columns; c++)
        for (long r = 0; r < rows; r++) to[c * rows + r] = from[r * columns + c];
}

/* Pictures from NHWC to NCHW order, or with `back` the other way. */
void turn_pictures(const float *from, float *to, long pictures, long places, long channels, int back,
                   int threads) {
    const long size = places * channels;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long n = 0; n < pictures; n++)
        if (back)
            turn(channels, places, from + n * size, to + n * size);
        else
            turn(places, channels, from + n * size, to + n * size);
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
