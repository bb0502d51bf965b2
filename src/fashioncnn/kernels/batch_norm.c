/* Batch normalization, with an optional residual addition and ReLU in the same pass, and its
 * gradients.
 *
 * Memory bandwidth is the limit, so every tensor is read as few times as possible: twice for the
 * input (statistics, then normalization), in either direction. A row is one position of one image:
 * all its channels. Values are float32 or bfloat16, sums float32 within a chunk of rows and float64
 * across. */

typedef struct { /* the same as fashioncnn.kernels.library.BatchNormOptions */
    long rows, channels; /* channels a multiple of LANES */
    long bf16;
    long relu;
    double momentum, eps;
} batch_norm_options;

#define CHUNK 128 /* rows summed in registers in float32; they stay in the first-level cache */

/* Calls DO(vectors) for every chunk of rows and every group of 4, 2 or 1 vectors of channels, with
 * the variables chunk, chunk_end (rows) and c (first channel). */
#define FOR_EACH_GROUP(first, last, channels, DO)                                       \
    for (long chunk = first; chunk < last; chunk += CHUNK) {                            \
        const long chunk_end = chunk + CHUNK < last ? chunk + CHUNK : last;             \
        for (long c = 0; c < channels;) {                                               \
            const long remaining = (channels - c) / LANES;                              \
            if (remaining >= 4) { DO(4) c += 4 * LANES; }                               \
            else if (remaining >= 2) { DO(2) c += 2 * LANES; }                          \
            else { DO(1) c += LANES; }                                                  \
        }                                                                               \
    }

/* CALL(bf16, relu, residual) with three compile-time constants for three run-time flags. */
#define DISPATCH(bf16, relu, residual, CALL)                 \
    switch (4 * !!(bf16) + 2 * !!(relu) + !!(residual)) {    \
    case 0: CALL(0, 0, 0); break;                            \
    case 1: CALL(0, 0, 1); break;                            \
    case 2: CALL(0, 1, 0); break;                            \
    case 3: CALL(0, 1, 1); break;                            \
    case 4: CALL(1, 0, 0); break;                            \
    case 5: CALL(1, 0, 1); break;                            \
    case 6: CALL(1, 1, 0); break;                            \
    default: CALL(1, 1, 1);                                  \
    }

/* Merges the mean and the sum of squared deviations of a group of values into those of the `before`
 * values before it; `fraction` is the group's size over that of both (Chan, Golub and LeVeque 1983,
 * "Algorithms for computing the sample variance"). */
INLINE void merge_moments(double before, double fraction, double mean, double squares,
                          double *total_mean, double *total_squares) {
    double difference = mean - *total_mean;
    *total_mean += difference * fraction;
    *total_squares += squares + difference * difference * (before * fraction);
}

/* Merges the moments of a chunk into those of rows `first` to `chunk`. The chunk's first row is
 * subtracted from the others before squaring, so that a large mean costs no precision. */
INLINE void chunk_moments(const int bf16, const int vectors, const void *x, long channels,
                          long first, long chunk, long chunk_end, long c, double *mean,
                          double *squares) {
    vec shift[4], sum[4], square[4];
    for (int k = 0; k < vectors; k++) {
        shift[k] = load_values(x, chunk * channels + c + k * LANES, bf16);
        sum[k] = square[k] = (vec){0};
    }
    for (long row = chunk + 1; row < chunk_end; row++)
#pragma GCC unroll 4
        for (int k = 0; k < vectors; k++) {
            vec d = load_values(x, row * channels + c + k * LANES, bf16) - shift[k];
            sum[k] += d;
            square[k] += d * d;
        }
    const double inverse = 1.0 / (chunk_end - chunk);
    const double fraction = (double)(chunk_end - chunk) / (chunk_end - first);
    for (int k = 0; k < vectors; k++)
        for (int l = 0; l < LANES; l++) {
            double shifted_mean = sum[k][l] * inverse;
            double deviations = square[k][l] - sum[k][l] * shifted_mean;
            long at = c + k * LANES + l;
            deviations = deviations < 0 ? 0 : deviations; /* by rounding */
            merge_moments(chunk - first, fraction, shift[k][l] + shifted_mean, deviations,
                          mean + at, squares + at);
        }
}

/* Mean and sum of squared deviations of every channel over rows `first` to `last`. */
INLINE void compute_moments(const int bf16, const void *x, long channels, long first, long last,
                            double *mean, double *squares) {
#define DO(vectors) \
    chunk_moments(bf16, vectors, x, channels, first, chunk, chunk_end, c, mean, squares);
    FOR_EACH_GROUP(first, last, channels, DO)
#undef DO
}

/* One formula for the forward and the backward pass, so that both round equally. */
INLINE vec normalize(vec x, vec mean, vec scale, vec bias) { return (x - mean) * scale + bias; }

INLINE void chunk_normalize(const int bf16, const int relu, const int has_residual,
                            const int vectors, const void *x, const void *residual,
                            const float *coefficients, long channels, long chunk, long chunk_end,
                            long c, void *y) {
    vec mean[4], scale[4], bias[4];
    for (int k = 0; k < vectors; k++) {
        const float *at = coefficients + c + k * LANES;
        mean[k] = load(at), scale[k] = load(at + channels), bias[k] = load(at + 2 * channels);
    }
    for (long row = chunk; row < chunk_end; row++)
#pragma GCC unroll 4
        for (int k = 0; k < vectors; k++) {
            const long at = row * channels + c + k * LANES;
            vec v = normalize(load_values(x, at, bf16), mean[k], scale[k], bias[k]);
            if (has_residual) v += load_values(residual, at, bf16);
            if (relu) v = blend(v <= 0, (vec){0}, v);
            store_values(y, at, v, bf16);
        }
}

INLINE void normalize_rows(const int bf16, const int relu, const int has_residual, const void *x,
                           const void *residual, const float *coefficients, long channels,
                           long first, long last, void *y) {
#define DO(vectors)                                                                                \
    chunk_normalize(bf16, relu, has_residual, vectors, x, residual, coefficients, channels, chunk, \
                    chunk_end, c, y);
    FOR_EACH_GROUP(first, last, channels, DO)
#undef DO
}

/* y = ReLU?((x - mean) · scale + bias (+ residual)), as in evaluation. `coefficients` is (3,
 * channels): mean, scale and bias; `residual` may be null. */
void batch_norm_inference(const void *x, const void *residual, const float *coefficients, void *y,
                          const batch_norm_options *options, int threads) {
    const batch_norm_options s = *options;
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int thread = 0; thread < threads; thread++) {
        long first, last;
        partition_range(s.rows, thread, threads, &first, &last);
#define CALL(bf16, relu, has_residual) \
    normalize_rows(bf16, relu, has_residual, x, residual, coefficients, s.channels, first, last, y)
        DISPATCH(s.bf16, s.relu, residual, CALL)
#undef CALL
    }
}

/* The same with the statistics of x, as in training. Updates the running statistics and writes
 * `coefficients` (with scale = weight / std) and `std` for the backward pass. Returns 0, or 1 if
 * memory is exhausted. */
int batch_norm_forward(const void *x, const void *residual, const float *weight, const float *bias,
                       float *running_mean, float *running_variance, void *y, float *coefficients,
                       float *std, const batch_norm_options *options, int threads) {
    const batch_norm_options s = *options;
    const long per_thread = 2 * s.channels;
    double *sums = calloc(per_thread * threads, sizeof(double));
    if (!sums) return 1;
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int thread = 0; thread < threads; thread++) {
        long first, last;
        partition_range(s.rows, thread, threads, &first, &last);
        double *mean = sums + per_thread * thread, *squares = mean + s.channels;
        if (s.bf16) compute_moments(1, x, s.channels, first, last, mean, squares);
        else compute_moments(0, x, s.channels, first, last, mean, squares);
    }
    for (int thread = 1; thread < threads; thread++) {
        long first, last;
        partition_range(s.rows, thread, threads, &first, &last);
        if (first == last) continue;
        const double *own = sums + per_thread * thread;
        for (long c = 0; c < s.channels; c++)
            merge_moments(first, (double)(last - first) / last, own[c], own[s.channels + c],
                          sums + c, sums + s.channels + c);
    }
    for (long c = 0; c < s.channels; c++) {
        double mean = sums[c], squares = sums[s.channels + c];
        double keep = 1 - s.momentum, deviation = __builtin_sqrt(squares / s.rows + s.eps);
        running_mean[c] = keep * running_mean[c] + s.momentum * mean;
        running_variance[c] = keep * running_variance[c] + s.momentum * squares / (s.rows - 1);
        coefficients[c] = mean, coefficients[s.channels + c] = weight[c] / deviation;
        coefficients[2 * s.channels + c] = bias[c], std[c] = deviation;
    }
    batch_norm_inference(x, residual, coefficients, y, options, threads);
    return free(sums), 0;
}

/* The gradients of the output: one, or two whose sum it is (batch_norm_pair in Python). */
typedef struct {
    const void *first, *second; /* second may be null */
} output_gradients;

/* The gradient behind ReLU. Its sign mask comes from the output if there was a residual; otherwise
 * the output is computed again, which is faster than reading it. */
INLINE vec load_gradient(const int bf16, const int relu, const int has_residual,
                         output_gradients dy, vec x, const void *y, long at, vec mean, vec scale,
                         vec bias) {
    vec g = load_values(dy.first, at, bf16);
    if (dy.second) g += load_values(dy.second, at, bf16);
    if (!relu) return g;
    vec v = has_residual ? load_values(y, at, bf16) : normalize(x, mean, scale, bias);
    return blend(v <= 0, (vec){0}, g);
}

/* Adds g and g · (x - mean) to `sums`, (2, channels); writes g, the gradient of the residual, to dr
 * unless null. */
INLINE void chunk_sums(const int bf16, const int relu, const int has_residual, const int vectors,
                       const void *x, const void *y, output_gradients dy, const float *coefficients,
                       long channels, long chunk, long chunk_end, long c, double *sums, void *dr) {
    vec mean[4], scale[4], bias[4], sum[4], product[4];
    for (int k = 0; k < vectors; k++) {
        const float *at = coefficients + c + k * LANES;
        mean[k] = load(at), scale[k] = load(at + channels), bias[k] = load(at + 2 * channels);
        sum[k] = product[k] = (vec){0};
    }
    for (long row = chunk; row < chunk_end; row++)
#pragma GCC unroll 4
        for (int k = 0; k < vectors; k++) {
            const long at = row * channels + c + k * LANES;
            vec value = load_values(x, at, bf16);
            vec g = load_gradient(bf16, relu, has_residual, dy, value, y, at, mean[k], scale[k],
                                  bias[k]);
            if (dr) store_values(dr, at, g, bf16);
            sum[k] += g;
            product[k] += g * (value - mean[k]);
        }
    for (int k = 0; k < vectors; k++)
        for (int l = 0; l < LANES; l++) {
            sums[c + k * LANES + l] += sum[k][l];
            sums[channels + c + k * LANES + l] += product[k][l];
        }
}

INLINE void sum_gradients(const int bf16, const int relu, const int has_residual, const void *x,
                          const void *y, output_gradients dy, const float *coefficients,
                          long channels, long first, long last, double *sums, void *dr) {
#define DO(vectors)                                                                           \
    chunk_sums(bf16, relu, has_residual, vectors, x, y, dy, coefficients, channels, chunk,    \
               chunk_end, c, sums, dr);
    FOR_EACH_GROUP(first, last, channels, DO)
#undef DO
}

/* dx = scale · (g - level - (x - mean) · slope); `means` is (2, channels): level and slope. */
INLINE void chunk_backward(const int bf16, const int relu, const int has_residual,
                           const int vectors, const void *x, const void *y, output_gradients dy,
                           const float *coefficients, const float *means, long channels,
                           long chunk, long chunk_end, long c, void *dx) {
    vec mean[4], scale[4], bias[4], level[4], slope[4];
    for (int k = 0; k < vectors; k++) {
        const float *at = coefficients + c + k * LANES, *of = means + c + k * LANES;
        mean[k] = load(at), scale[k] = load(at + channels), bias[k] = load(at + 2 * channels);
        level[k] = load(of), slope[k] = load(of + channels);
    }
    for (long row = chunk; row < chunk_end; row++)
#pragma GCC unroll 4
        for (int k = 0; k < vectors; k++) {
            const long at = row * channels + c + k * LANES;
            vec value = load_values(x, at, bf16);
            vec g = load_gradient(bf16, relu, has_residual, dy, value, y, at, mean[k], scale[k],
                                  bias[k]);
            store_values(dx, at, scale[k] * (g - level[k] - (value - mean[k]) * slope[k]), bf16);
        }
}

INLINE void backward_rows(const int bf16, const int relu, const int has_residual, const void *x,
                          const void *y, output_gradients dy, const float *coefficients,
                          const float *means, long channels, long first, long last, void *dx) {
#define DO(vectors)                                                                               \
    chunk_backward(bf16, relu, has_residual, vectors, x, y, dy, coefficients, means, channels,    \
                   chunk, chunk_end, c, dx);
    FOR_EACH_GROUP(first, last, channels, DO)
#undef DO
}

/* Gradients, overwritten. dy_second may be null (see output_gradients). `y` is the output if there
 * were both a residual and ReLU, else null. The residual's gradient dr may be null. Returns 0, or 1
 * if memory is exhausted. */
int batch_norm_backward(const void *x, const void *y, const void *dy_first, const void *dy_second,
                        const float *coefficients, const float *std, void *dx, void *dr,
                        float *dweight, float *dbias, const batch_norm_options *options,
                        int threads) {
    const batch_norm_options s = *options;
    const long per_thread = 2 * s.channels;
    double *sums = calloc(per_thread * threads, sizeof(double));
    float *means = allocate(per_thread);
    const output_gradients dy = {dy_first, dy_second};
    if (!sums || !means) return free(sums), free(means), 1;
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int thread = 0; thread < threads; thread++) {
        long first, last;
        partition_range(s.rows, thread, threads, &first, &last);
#define CALL(bf16, relu, has_residual)                                                             \
    sum_gradients(bf16, relu, has_residual, x, y, dy, coefficients, s.channels, first, last,       \
                  sums + per_thread * thread, dr)
        DISPATCH(s.bf16, s.relu, y, CALL)
#undef CALL
    }
    for (int thread = 1; thread < threads; thread++)
        for (long i = 0; i < per_thread; i++) sums[i] += sums[per_thread * thread + i];
    for (long c = 0; c < s.channels; c++) {
        double sum = sums[c], product = sums[s.channels + c], deviation = std[c];
        dbias[c] = sum, dweight[c] = product / deviation;
        means[c] = sum / s.rows, means[s.channels + c] = product / (deviation * deviation * s.rows);
    }
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int thread = 0; thread < threads; thread++) {
        long first, last;
        partition_range(s.rows, thread, threads, &first, &last);
        /* If dr was written, it is the sum of the gradients behind ReLU. */
        const output_gradients g = dr ? (output_gradients){dr, 0} : dy;
#define CALL(bf16, relu, has_residual)                                                            \
    backward_rows(bf16, relu, has_residual, x, y, g, coefficients, means, s.channels, first, last, \
                  dx)
        DISPATCH(s.bf16, s.relu && !dr, y && !dr, CALL)
#undef CALL
    }
    return free(sums), free(means), 0;
}
