/* 2×2 max pooling, an optional bias, and ReLU; float32 or bfloat16. */

typedef struct { /* the same as fashioncnn.kernels.library.PoolShape */
    long images, height, width, channels;
    long bf16;
} pool_shape;

/* Offset of value k of a 2×2 window from the window's first value. */
INLINE long window_offset(pool_shape s, int k) { return (k / 2 * s.width + k % 2) * s.channels; }

/* Offset of the first window of an output row, counted over all images. */
INLINE long window_row_offset(pool_shape s, long row) {
    const long rows = s.height / 2;
    return (row / rows * s.height + row % rows * 2) * s.width * s.channels;
}

INLINE void pool_row(const int bf16, pool_shape s, long row, const void *x, const float *bias,
                     void *y, uint8_t *argmax) {
    const long columns = s.width / 2, first = window_row_offset(s, row);
    for (long q = 0; q < columns; q++) {
        const long from = first + 2 * q * s.channels, to = (row * columns + q) * s.channels;
        for (long c = 0; c < s.channels; c += LANES) {
            vec window[4];
            for (int k = 0; k < 4; k++)
                window[k] = load_values(x, from + window_offset(s, k) + c, bf16);
            vec b = bias ? load(bias + c) : (vec){0};
            store_values(y, to + c, max_pool_relu(window, b, argmax ? argmax + to + c : 0), bf16);
        }
    }
}

/* Writes the gradients of the two input rows of an output row; adds to dbias unless null. */
INLINE void pool_row_backward(const int bf16, pool_shape s, long row, const void *dy,
                              const uint8_t *argmax, void *dx, float *dbias) {
    const long rows = s.height / 2, columns = s.width / 2, size = bf16 ? 2 : 4;
    const long first = window_row_offset(s, row);
    for (long q = 0; q < columns; q++) {
        const long to = first + 2 * q * s.channels, from = (row * columns + q) * s.channels;
        for (long c = 0; c < s.channels; c += LANES) {
            vec g = load_values(dy, from + c, bf16);
            ivec index = widen(argmax + from + c);
            for (int k = 0; k < 4; k++)
                store_values(dx, to + window_offset(s, k) + c, (vec)((index == k) & (ivec)g), bf16);
            if (dbias)
                store(dbias + c, load(dbias + c) + (vec)((index != ZEROED_BY_RELU) & (ivec)g));
        }
    }
    /* Odd sides: no window covers the last column and the last row. */
    for (int down = 0; down < 2 && s.width % 2; down++)
        memset((char *)dx + (first + ((down + 1) * s.width - 1) * s.channels) * size, 0,
               s.channels * size);
    if (s.height % 2 && row % rows == rows - 1)
        memset((char *)dx + (first + 2 * s.width * s.channels) * size, 0,
               s.width * s.channels * size);
}

/* bias and argmax may be null. */
void pool_relu_forward(const void *x, const float *bias, void *y, uint8_t *argmax,
                       const pool_shape *shape, int threads) {
    const pool_shape s = *shape;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long row = 0; row < s.images * (s.height / 2); row++)
        if (s.bf16) pool_row(1, s, row, x, bias, y, argmax);
        else pool_row(0, s, row, x, bias, y, argmax);
}

/* Gradients, overwritten; dbias may be null. The bias gradient is summed in float32 within a row
 * and in float64 across rows. Returns 0, or 1 if memory is exhausted. */
int pool_relu_backward(const void *dy, const uint8_t *argmax, void *dx, float *dbias,
                       const pool_shape *shape, int threads) {
    const pool_shape s = *shape;
    double *sums = calloc(s.channels * threads, sizeof(double));
    float *row_sums = allocate(s.channels * threads);
    if (!sums || !row_sums) return free(sums), free(row_sums), 1;
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int thread = 0; thread < threads; thread++) {
        long first, last;
        partition_range(s.images * (s.height / 2), thread, threads, &first, &last);
        float *row_sum = dbias ? row_sums + s.channels * thread : 0;
        for (long row = first; row < last; row++) {
            if (dbias) memset(row_sum, 0, sizeof(float) * s.channels);
            if (s.bf16) pool_row_backward(1, s, row, dy, argmax, dx, row_sum);
            else pool_row_backward(0, s, row, dy, argmax, dx, row_sum);
            for (long c = 0; c < s.channels && dbias; c++)
                sums[s.channels * thread + c] += row_sum[c];
        }
    }
    for (long c = 0; c < s.channels && dbias; c++) {
        for (int thread = 1; thread < threads; thread++) sums[c] += sums[s.channels * thread + c];
        dbias[c] = sums[c];
    }
    return free(sums), free(row_sums), 0;
}
