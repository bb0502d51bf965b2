/* What memory bounds in a step of training: batch normalisation, and 2×2 max pooling with ReLU.
 *
 * One piece of source with kernels.c, which comes before it. Values are float32, or bfloat16 between
 * float32 sums, in NHWC order: rows of channels. Nothing is read or written oftener than it must
 * be: normalising reads its input twice, once for the statistics, and so does its gradient; adding
 * a residual and ReLU cost no pass of their own.
 */
typedef uint16_t halves __attribute__((vector_size(2 * LANES), aligned(2), may_alias));

/* LANES values from the i-th on; with `half`, known when this is compiled, of bfloat16. */
INLINE vec take(const void *values, long i, const int half) {
    if (!half) return load((const float *)values + i);
    const uint16_t *p = (const uint16_t *)values + i;
#if LANES == 16 && defined(__AVX512F__)
    ivec wide = (ivec)_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
#elif LANES == 8 && defined(__AVX2__)
    ivec wide = (ivec)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
#else
    ivec wide = __builtin_convertvector(*(const halves *)p, ivec);
#endif
    return (vec)(wide << 16);
}

/* The nearest bfloat16, the even one of two, as the upper half of each lane. */
INLINE ivec rounded(vec v) {
    ivec bits = (ivec)v, odd = (bits >> 16) & 1;
    ivec nan = v != v;
    return (nan & 0x7fc00000) | (~nan & (bits + 0x7fff + odd));
}

INLINE void put(void *values, long i, vec v, const int half) {
    if (!half) {
        store((float *)values + i, v);
        return;
    }
    uint16_t *p = (uint16_t *)values + i;
#if LANES == 16 && defined(__AVX512BF16__)
    _mm256_storeu_si256((__m256i *)p, (__m256i)_mm512_cvtneps_pbh((__m512)v));
#elif LANES == 16 && defined(__AVX512F__)
    __m512i high = _mm512_srli_epi32((__m512i)rounded(v), 16);
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi32_epi16(high));
#elif LANES == 8 && defined(__AVX2__)
    __m256i high = _mm256_srli_epi32((__m256i)rounded(v), 16);
    high = _mm256_permute4x64_epi64(_mm256_packus_epi32(high, high), 0x08);
    _mm_storeu_si128((__m128i *)p, _mm256_castsi256_si128(high));
#else
    *(halves *)p = __builtin_convertvector(rounded(v) >> 16, halves);
#endif
}

typedef struct {
    long rows, channels; /* channels a multiple of LANES */
    long half;           /* values are bfloat16 */
    long rectified;      /* ReLU is the last thing done */
    double momentum, eps;
} norm;

/* Rows whose sums are made in float32, in registers, before they are added to those of the others in
 * float64. What they are made of stays in the nearest cache meanwhile. */
#define CHUNK 128

/* For every chunk of rows and every group of 4, 2 or 1 vectors of its channels: DO(wide). */
#define EACH_GROUP(from, to, channels, DO)                                             \
    for (long first = from; first < to; first += CHUNK) {                              \
        const long last = first + CHUNK < to ? first + CHUNK : to;                     \
        for (long c = 0; c < channels;) {                                              \
            const long left = (channels - c) / LANES;                                  \
            if (left >= 4) { DO(4) c += 4 * LANES; }                                   \
            else if (left >= 2) { DO(2) c += 2 * LANES; }                              \
            else { DO(1) c += LANES; }                                                 \
        }                                                                              \
    }

/* The same call with each of the three flags known when it is compiled. */
#define BY_KIND(half, rectified, added, CALL)                        \
    switch (4 * !!(half) + 2 * !!(rectified) + !!(added)) {          \
    case 0: CALL(0, 0, 0); break;                                    \
    case 1: CALL(0, 0, 1); break;                                    \
    case 2: CALL(0, 1, 0); break;                                    \
    case 3: CALL(0, 1, 1); break;                                    \
    case 4: CALL(1, 0, 0); break;                                    \
    case 5: CALL(1, 0, 1); break;                                    \
    case 6: CALL(1, 1, 0); break;                                    \
    default: CALL(1, 1, 1);                                          \
    }

/* Adds the moments of values that are a `portion` of all so far to those of the `before` others
 * (Chan, Golub and LeVeque 1983). */
INLINE void add_moments(double before, double portion, double mean, double squares,
                        double *to_mean, double *to_squares) {
    double apart = mean - *to_mean;
    *to_mean += apart * portion;
    *to_squares += squares + apart * apart * (before * portion);
}

/* Mean and summed squared distance to it of a chunk's channels c and following. Its first row is
 * taken off before anything is squared, so that a large mean costs no digits. */
INLINE void chunk_moments(const int half, const int wide, const void *x, long channels, long from,
                          long first, long last, long c, double *mean, double *squares) {
    vec shift[4], sum[4], square[4];
    for (int k = 0; k < wide; k++) {
        shift[k] = take(x, first * channels + c + k * LANES, half);
        sum[k] = square[k] = (vec){0};
    }
    for (long row = first + 1; row < last; row++)
#pragma GCC unroll 4
        for (int k = 0; k < wide; k++) {
            vec d = take(x, row * channels + c + k * LANES, half) - shift[k];
            sum[k] += d;
            square[k] += d * d;
        }
    const double each = 1.0 / (last - first), portion = (double)(last - first) / (last - from);
    for (int k = 0; k < wide; k++)
        for (int l = 0; l < LANES; l++) {
            double apart = sum[k][l] * each, around = square[k][l] - sum[k][l] * apart;
            long at = c + k * LANES + l;
            around = around < 0 ? 0 : around; /* by rounding */
            add_moments(first - from, portion, shift[k][l] + apart, around, mean + at, squares + at);
        }
}

INLINE void moments(const int half, const void *x, long channels, long from, long to, double *mean,
                    double *squares) {
#define DO(wide) chunk_moments(half, wide, x, channels, from, first, last, c, mean, squares);
    EACH_GROUP(from, to, channels, DO)
#undef DO
}

/* (x - mean) · gain + bias, the same wherever it is computed. */
INLINE vec normalised(vec x, vec mean, vec gain, vec bias) { return (x - mean) * gain + bias; }

INLINE void chunk_normalise(const int half, const int rectified, const int added, const int wide,
                            const void *x, const void *residual, const float *terms, long channels,
                            long first, long last, long c, void *y) {
    vec mean[4], gain[4], bias[4];
    for (int k = 0; k < wide; k++) {
        const float *at = terms + c + k * LANES;
        mean[k] = load(at), gain[k] = load(at + channels), bias[k] = load(at + 2 * channels);
    }
    for (long row = first; row < last; row++)
#pragma GCC unroll 4
        for (int k = 0; k < wide; k++) {
            const long at = row * channels + c + k * LANES;
            vec v = normalised(take(x, at, half), mean[k], gain[k], bias[k]);
            if (added) v += take(residual, at, half);
            if (rectified) v = choose(v <= 0, (vec){0}, v);
            put(y, at, v, half);
        }
}

INLINE void normalise(const int half, const int rectified, const int added, const void *x,
                      const void *residual, const float *terms, long channels, long from, long to,
                      void *y) {
#define DO(wide) \
    chunk_normalise(half, rectified, added, wide, x, residual, terms, channels, first, last, c, y);
    EACH_GROUP(from, to, channels, DO)
#undef DO
}

/* y = (x - mean) · gain + bias (+ residual), rectified or not; `terms` are (3, channels): mean, gain and
 * bias. */
void normalize_with(const void *x, const void *residual, const float *terms, void *y, const norm *how,
                  int threads) {
    const norm s = *how;
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int part = 0; part < threads; part++) {
        long from, to;
        share(s.rows, part, threads, &from, &to);
#define CALL(half, rectified, added) \
    normalise(half, rectified, added, x, residual, terms, s.channels, from, to, y)
        BY_KIND(s.half, s.rectified, residual, CALL)
#undef CALL
    }
}

/* The same by the statistics of x, which go to the running ones too. `terms` are written, with gain =
 * weight / deviation, for the way back. Returns 0, or 1 where there is not enough memory. */
int normalise_forward(const void *x, const void *residual, const float *weight, const float *bias,
                      float *running_mean, float *running_variance, void *y, float *terms,
                      float *deviations, const norm *how, int threads) {
    const norm s = *how;
    const long each = 2 * s.channels;
    double *sums = calloc(each * threads, sizeof(double));
    if (!sums) return 1;
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int part = 0; part < threads; part++) {
        long from, to;
        share(s.rows, part, threads, &from, &to);
        double *mean = sums + each * part, *squares = mean + s.channels;
        if (s.half) moments(1, x, s.channels, from, to, mean, squares);
        else moments(0, x, s.channels, from, to, mean, squares);
    }
    for (int part = 1; part < threads; part++) {
        long from, to;
        share(s.rows, part, threads, &from, &to);
        if (from == to) continue;
        for (long c = 0; c < s.channels; c++)
            add_moments(from, (double)(to - from) / to, sums[each * part + c],
                        sums[each * part + s.channels + c], sums + c, sums + s.channels + c);
    }
    for (long c = 0; c < s.channels; c++) {
        double mean = sums[c], squares = sums[s.channels + c];
        double keep = 1 - s.momentum, deviation = __builtin_sqrt(squares / s.rows + s.eps);
        running_mean[c] = keep * running_mean[c] + s.momentum * mean;
        running_variance[c] = keep * running_variance[c] + s.momentum * squares / (s.rows - 1);
        terms[c] = mean, terms[s.channels + c] = weight[c] / deviation;
        terms[2 * s.channels + c] = bias[c], deviations[c] = deviation;
    }
    normalize_with(x, residual, terms, y, how, threads);
    return free(sums), 0;
}

/* The gradients that came in. Where the output went two ways there are two, added here. */
typedef struct {
    const void *one, *other; /* null where there is one */
} gradients;

/* The gradient that ReLU lets through. With a residual the output tells; without, it is made again,
 * which is faster than to read it. */
INLINE vec let_through(const int half, const int rectified, const int added, gradients dy, vec x,
                       const void *y, long at, vec mean, vec gain, vec bias) {
    vec g = take(dy.one, at, half);
    if (dy.other) g += take(dy.other, at, half);
    if (!rectified) return g;
    vec v = added ? take(y, at, half) : normalised(x, mean, gain, bias);
    return choose(v <= 0, (vec){0}, g);
}

/* Adds g and g · (x - mean) to the sums. `dr`, the residual's gradient, is g; it may be null. */
INLINE void chunk_sums(const int half, const int rectified, const int added, const int wide,
                       const void *x, const void *y, gradients dy, const float *terms,
                       long channels, long first, long last, long c, double *sums, void *dr) {
    vec mean[4], gain[4], bias[4], sum[4], product[4];
    for (int k = 0; k < wide; k++) {
        const float *at = terms + c + k * LANES;
        mean[k] = load(at), gain[k] = load(at + channels), bias[k] = load(at + 2 * channels);
        sum[k] = product[k] = (vec){0};
    }
    for (long row = first; row < last; row++)
#pragma GCC unroll 4
        for (int k = 0; k < wide; k++) {
            const long at = row * channels + c + k * LANES;
            vec value = take(x, at, half);
            vec g = let_through(half, rectified, added, dy, value, y, at, mean[k], gain[k],
                                bias[k]);
            if (dr) put(dr, at, g, half);
            sum[k] += g;
            product[k] += g * (value - mean[k]);
        }
    for (int k = 0; k < wide; k++)
        for (int l = 0; l < LANES; l++) {
            sums[c + k * LANES + l] += sum[k][l];
            sums[channels + c + k * LANES + l] += product[k][l];
        }
}

INLINE void sum_gradients(const int half, const int rectified, const int added, const void *x,
                          const void *y, gradients dy, const float *terms, long channels,
                          long from, long to, double *sums, void *dr) {
#define DO(wide) \
    chunk_sums(half, rectified, added, wide, x, y, dy, terms, channels, first, last, c, sums, dr);
    EACH_GROUP(from, to, channels, DO)
#undef DO
}

/* dx = gain · (g - level - (x - mean) · slope) */
INLINE void chunk_back(const int half, const int rectified, const int added, const int wide,
                       const void *x, const void *y, gradients dy, const float *terms,
                       const float *lines, long channels, long first, long last, long c, void *dx) {
    vec mean[4], gain[4], bias[4], level[4], slope[4];
    for (int k = 0; k < wide; k++) {
        const float *at = terms + c + k * LANES, *line = lines + c + k * LANES;
        mean[k] = load(at), gain[k] = load(at + channels), bias[k] = load(at + 2 * channels);
        level[k] = load(line), slope[k] = load(line + channels);
    }
    for (long row = first; row < last; row++)
#pragma GCC unroll 4
        for (int k = 0; k < wide; k++) {
            const long at = row * channels + c + k * LANES;
            vec value = take(x, at, half);
            vec g = let_through(half, rectified, added, dy, value, y, at, mean[k], gain[k],
                                bias[k]);
            put(dx, at, gain[k] * (g - level[k] - (value - mean[k]) * slope[k]), half);
        }
}

INLINE void normalise_rows_back(const int half, const int rectified, const int added, const void *x,
                                const void *y, gradients dy, const float *terms,
                                const float *lines, long channels, long from, long to, void *dx) {
#define DO(wide)                                                                                  \
    chunk_back(half, rectified, added, wide, x, y, dy, terms, lines, channels, first, last, c, dx);
    EACH_GROUP(from, to, channels, DO)
#undef DO
}

/* Its gradients, from one or two of the output; `y` is null but where a residual was added before
 * ReLU, `dr` where the residual's is not wanted. */
int normalise_back(const void *x, const void *y, const void *dy_one, const void *dy_other,
                   const float *terms, const float *deviations, void *dx, void *dr, float *dweight,
                   float *dbias, const norm *how, int threads) {
    const norm s = *how;
    const long each = 2 * s.channels;
    double *sums = calloc(each * threads, sizeof(double));
    float *lines = allocate(each);
    const gradients dy = {dy_one, dy_other};
    if (!sums || !lines) return free(sums), free(lines), 1;
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int part = 0; part < threads; part++) {
        long from, to;
        share(s.rows, part, threads, &from, &to);
#define CALL(half, rectified, added) \
    sum_gradients(half, rectified, added, x, y, dy, terms, s.channels, from, to, \
                  sums + each * part, dr)
        BY_KIND(s.half, s.rectified, y, CALL)
#undef CALL
    }
    for (int part = 1; part < threads; part++)
        for (long i = 0; i < each; i++) sums[i] += sums[each * part + i];
    for (long c = 0; c < s.channels; c++) {
        double sum = sums[c], product = sums[s.channels + c], deviation = deviations[c];
        dbias[c] = sum, dweight[c] = product / deviation;
        lines[c] = sum / s.rows, lines[s.channels + c] = product / (deviation * deviation * s.rows);
    }
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int part = 0; part < threads; part++) {
        long from, to;
        share(s.rows, part, threads, &from, &to);
        /* What ReLU let through is read again where it was written. */
        const gradients g = dr ? (gradients){dr, 0} : dy;
#define CALL(half, rectified, added) \
    normalise_rows_back(half, rectified, added, x, y, g, terms, lines, s.channels, from, to, dx)
        BY_KIND(s.half, s.rectified && !dr, y && !dr, CALL)
#undef CALL
    }
    return free(sums), free(lines), 0;
}

typedef struct {
    long images, height, width, channels;
    long half;
} planes;

/* Where the four values of a window lie, from its first on, counted in values. */
INLINE long corner(planes s, int k) { return (k / 2 * s.width + k % 2) * s.channels; }

INLINE void pool_row(const int half, planes s, long row, const void *x, const float *bias, void *y,
                     uint8_t *places) {
    const long rows = s.height / 2, columns = s.width / 2;
    for (long q = 0; q < columns; q++) {
        const long from = ((row / rows * s.height + row % rows * 2) * s.width + 2 * q) * s.channels;
        const long to = (row * columns + q) * s.channels;
        for (long c = 0; c < s.channels; c += LANES) {
            vec four[4];
            for (int k = 0; k < 4; k++) four[k] = take(x, from + corner(s, k) + c, half);
            vec b = bias ? load(bias + c) : (vec){0};
            put(y, to + c, largest(four, b, places ? places + to + c : 0), half);
        }
    }
}

/* Adds to `db`, where it is not null. */
INLINE void unpool_row(const int half, planes s, long row, const void *dy, const uint8_t *places,
                       void *dx, float *db) {
    const long rows = s.height / 2, columns = s.width / 2, size = half ? 2 : 4;
    const long first = (row / rows * s.height + row % rows * 2) * s.width * s.channels;
    for (long q = 0; q < columns; q++) {
        const long to = first + 2 * q * s.channels, from = (row * columns + q) * s.channels;
        for (long c = 0; c < s.channels; c += LANES) {
            vec g = take(dy, from + c, half);
            ivec where = widen(places + from + c);
            for (int k = 0; k < 4; k++)
                put(dx, to + corner(s, k) + c, (vec)((where == k) & (ivec)g), half);
            if (db) store(db + c, load(db + c) + (vec)((where != NOWHERE) & (ivec)g));
        }
    }
    /* What no window covers: the last column and the last row of odd sides. */
    for (int down = 0; down < 2 && s.width % 2; down++)
        memset((char *)dx + (first + ((down + 1) * s.width - 1) * s.channels) * size, 0,
               s.channels * size);
    if (s.height % 2 && row % rows == rows - 1)
        memset((char *)dx + (first + 2 * s.width * s.channels) * size, 0,
               s.width * s.channels * size);
}

/* ReLU of 2×2 max pooling and a bias, which may be null; to learn, with places. */
void pool_forward(const void *x, const float *bias, void *y, uint8_t *places,
                  const planes *shape_of, int threads) {
    const planes s = *shape_of;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long row = 0; row < s.images * (s.height / 2); row++)
        if (s.half) pool_row(1, s, row, x, bias, y, places);
        else pool_row(0, s, row, x, bias, y, places);
}

/* Its gradients, all of them written; `db` may be null. Returns 0, or 1 where there is not enough
 * memory. A row's sums are float32, those of rows float64. */
int pool_back(const void *dy, const uint8_t *places, void *dx, float *db, const planes *shape_of,
              int threads) {
    const planes s = *shape_of;
    double *sums = calloc(s.channels * threads, sizeof(double));
    float *of_rows = allocate(s.channels * threads);
    if (!sums || !of_rows) return free(sums), free(of_rows), 1;
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int part = 0; part < threads; part++) {
        long from, to;
        share(s.images * (s.height / 2), part, threads, &from, &to);
        float *of_row = db ? of_rows + s.channels * part : 0;
        for (long row = from; row < to; row++) {
            if (db) memset(of_row, 0, sizeof(float) * s.channels);
            if (s.half) unpool_row(1, s, row, dy, places, dx, of_row);
            else unpool_row(0, s, row, dy, places, dx, of_row);
            for (long c = 0; c < s.channels && db; c++) sums[s.channels * part + c] += of_row[c];
        }
    }
    for (long c = 0; c < s.channels && db; c++) {
        for (int part = 1; part < threads; part++) sums[c] += sums[s.channels * part + c];
        db[c] = sums[c];
    }
    return free(sums), free(of_rows), 0;
}
