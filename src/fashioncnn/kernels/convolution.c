/* 3×3 convolution, optionally with 2×2 max pooling and ReLU in the same pass, and its gradients.
 *
 * With pooling, only the maximum of each window and its index (argmax) are stored, never the
 * convolution's full output. A single input channel is convolved directly. More channels use
 * Winograd's minimal filtering: each of the values of a transformed input patch is multiplied with
 * the transformed filters in a matrix product over a block of tiles. */

/* Copies an image of one channel into the middle of a zero-padded buffer. */
static void pad_image(conv_shape s, const float *x, long image, float *padded) {
    long width = s.width + 2 * s.padding;
    for (long y = 0; y < s.height; y++)
        memcpy(padded + (y + s.padding) * width + s.padding,
               x + (image * s.height + y) * s.width, sizeof(float) * s.width);
}

static long padded_size(conv_shape s) {
    return (s.height + 2 * s.padding) * (s.width + 2 * s.padding);
}

/* Images `first` to `last`, one input channel; w (9, out_channels). */
static void forward_one_channel(conv_shape s, const float *x, const float *w, const float *bias,
                                float *y, uint8_t *argmax, long first, long last, float *padded) {
    long width = s.width + 2 * s.padding, rows = pooled_height(s), columns = pooled_width(s);
    for (long image = first; image < last; image++) {
        pad_image(s, x, image, padded);
        for (long c = 0; c < s.out_channels; c += LANES) {
            vec tap[9], b = load(bias + c);
            for (int k = 0; k < 9; k++) tap[k] = load(w + k * s.out_channels + c);
            for (long r = 0; r < rows; r++)
                for (long q = 0; q < columns; q++) {
                    const float *patch = padded + 2 * r * width + 2 * q;
                    vec sum[4] = {{0}, {0}, {0}, {0}};
#pragma GCC unroll 4
                    for (int i = 0; i < 4; i++)
#pragma GCC unroll 4
                        for (int j = 0; j < 4; j++) {
                            vec value = broadcast(patch[i * width + j]);
#pragma GCC unroll 4
                            for (int k = 0; k < 4; k++) {
                                int down = i - k / 2, right = j - k % 2;
                                if (down >= 0 && down < 3 && right >= 0 && right < 3)
                                    sum[k] += value * tap[3 * down + right];
                            }
                        }
                    long at = ((image * rows + r) * columns + q) * s.out_channels + c;
                    store(y + at, max_pool_relu(sum, b, argmax ? argmax + at : 0));
                }
        }
    }
}

/* Adds to dw (9, out_channels) and dbias. */
static void backward_one_channel(conv_shape s, const float *x, const float *dy,
                                 const uint8_t *argmax, long first, long last, float *padded,
                                 float *dw, float *dbias) {
    long width = s.width + 2 * s.padding, rows = pooled_height(s), columns = pooled_width(s);
    for (long image = first; image < last; image++) {
        pad_image(s, x, image, padded);
        for (long c = 0; c < s.out_channels; c += LANES) {
            vec tap[9], b = load(dbias + c);
            for (int k = 0; k < 9; k++) tap[k] = load(dw + k * s.out_channels + c);
            for (long r = 0; r < rows; r++)
                for (long q = 0; q < columns; q++) {
                    const float *patch = padded + 2 * r * width + 2 * q;
                    long at = ((image * rows + r) * columns + q) * s.out_channels + c;
                    vec g[4];
                    max_pool_relu_backward(dy + at, argmax + at, g);
                    b += g[0] + g[1] + g[2] + g[3];
#pragma GCC unroll 4
                    for (int i = 0; i < 4; i++)
#pragma GCC unroll 4
                        for (int j = 0; j < 4; j++) {
                            vec value = broadcast(patch[i * width + j]);
#pragma GCC unroll 4
                            for (int k = 0; k < 4; k++) {
                                int down = i - k / 2, right = j - k % 2;
                                if (down >= 0 && down < 3 && right >= 0 && right < 3)
                                    tap[3 * down + right] += value * g[k];
                            }
                        }
                }
            store(dbias + c, b);
            for (int k = 0; k < 9; k++) store(dw + k * s.out_channels + c, tap[k]);
        }
    }
}

/* Images `first` to `last`, tiles of one kind; u (patch, in·out). */
INLINE void forward_tiles(conv_shape s, const int height, const int width, const float *x,
                          const float *u, const float *bias, float *y, uint8_t *argmax, long first,
                          long last, float *scratch) {
    const tile_kind k = make_tile_kind(s, height, width);
    const long tiles = k.rows * k.columns, patch = (height + 2) * (width + 2);
    const long in_stride = MATRIX_STRIDE(s.in_channels), out_stride = MATRIX_STRIDE(s.out_channels);
    float *zeros = scratch, *v = zeros + s.in_channels, *m = v + patch * in_stride;
    for (long tile = first * tiles; tile < last * tiles; tile += BLOCK) {
        long left = last * tiles - tile, count = left < BLOCK ? left : BLOCK;
        transform_inputs(s, k, x, zeros, tile, count, v);
        for (long i = 0; i < patch; i++)
            product(BLOCK, s.out_channels, s.in_channels, v + i * in_stride,
                    u + i * s.in_channels * s.out_channels, m + i * out_stride);
        transform_outputs(s, k, m, bias, tile, count, y, argmax);
    }
}

/* Gradients for tiles of one kind: adds to dx (unless null), dw (9, in·out) and dbias. u (patch,
 * in·out) is transposed; du in the scratch memory is as large as u. */
INLINE void backward_tiles(conv_shape s, const int height, const int width, const float *x,
                           const float *u, const float *dy, const uint8_t *argmax, float *dx,
                           float *dw, float *dbias, long first, long last, float *scratch) {
    const tile_kind k = make_tile_kind(s, height, width);
    const long tiles = k.rows * k.columns, patch = (height + 2) * (width + 2);
    const long in_stride = MATRIX_STRIDE(s.in_channels), out_stride = MATRIX_STRIDE(s.out_channels);
    const long pairs = s.in_channels * s.out_channels;
    if (!tiles) return;
    float *zeros = scratch, *discarded = zeros + s.in_channels, *v = discarded + s.in_channels;
    float *dv = v + patch * in_stride, *dm = dv + patch * in_stride, *du = dm + patch * out_stride;
    memset(du, 0, sizeof(float) * patch * pairs);
    for (long tile = first * tiles; tile < last * tiles; tile += BLOCK) {
        long left = last * tiles - tile, count = left < BLOCK ? left : BLOCK;
        transform_inputs(s, k, x, zeros, tile, count, v);
        transform_outputs_backward(s, k, dy, argmax, tile, count, dm, dbias);
        for (long i = 0; i < patch; i++) {
            const float *vi = v + i * in_stride, *dmi = dm + i * out_stride;
            add_product(s.in_channels, s.out_channels, count, vi, dmi, du + i * pairs);
            if (dx)
                product(BLOCK, s.in_channels, s.out_channels, dmi, u + i * pairs,
                        dv + i * in_stride);
        }
        if (dx) transform_inputs_backward(s, k, dv, discarded, tile, count, dx);
    }
    transform_filters_backward(k, du, pairs, dw);
}

/* Index of weight (out, in) among all pairs: (in, out) matrices in panels of PANEL output channels,
 * so that a product reads them sequentially; if `transposed`, (out, in) in panels of inputs. */
INLINE long packed_index(conv_shape s, long out, long in, int transposed) {
    const long column = transposed ? in : out, row = transposed ? out : in;
    const long rows = transposed ? s.out_channels : s.in_channels;
    return column / PANEL * (rows * PANEL) + row * PANEL + column % PANEL;
}

/* Offset of tap k of weight (out, in) in a tensor (out, in, 3, 3) with strides in values. */
INLINE long weight_offset(const long stride[4], long out, long in, int k) {
    return out * stride[0] + in * stride[1] + k / 3 * stride[2] + k % 3 * stride[3];
}

/* Weights (out, in, 3, 3), strides in values, packed as (9, in·out). */
static void pack_weights(conv_shape s, const float *w, const long stride[4], int transposed,
                         float *packed) {
    for (int k = 0; k < 9; k++)
        for (long o = 0; o < s.out_channels; o++)
            for (long i = 0; i < s.in_channels; i++)
                packed[k * s.in_channels * s.out_channels + packed_index(s, o, i, transposed)] =
                    w[weight_offset(stride, o, i, k)];
}

/* Transformed filters of every tile kind, from packed weights. */
static void transform_all_filters(conv_shape s, const float *w, float *u) {
    const long pairs = s.in_channels * s.out_channels;
#define DO(height, width, offset) \
    transform_filters(make_tile_kind(s, height, width), w, pairs, u + offset * pairs);
    FOR_EACH_TILE_KIND(DO)
#undef DO
}

/* The convolution: with s.pooled also pooling, bias and ReLU, and argmax unless null. One input
 * channel requires s.pooled. Returns 0, or 1 if memory is exhausted. */
int conv_forward(const float *x, const float *w, const long *w_stride, const float *bias, float *y,
                 uint8_t *argmax, const conv_shape *shape, int threads) {
    const conv_shape s = *shape;
    const int direct = s.in_channels == 1;
    const long pairs = s.in_channels * s.out_channels;
    const long matrices = MATRIX_STRIDE(s.in_channels) + MATRIX_STRIDE(s.out_channels);
    const long per_thread = direct ? padded_size(s) : PATCH * PATCH * matrices + s.in_channels;
    float *weights = allocate((9 + (direct ? 0 : PATCH_VALUES)) * pairs);
    float *scratch = calloc(per_thread * threads, sizeof(float));
    if (!weights || !scratch) return free(weights), free(scratch), 1;
    float *u = weights + 9 * pairs;
    pack_weights(s, w, w_stride, 0, weights);
    if (!direct) transform_all_filters(s, weights, u);
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int thread = 0; thread < threads; thread++) {
        long first, last;
        partition_range(s.images, thread, threads, &first, &last);
        float *own = scratch + per_thread * thread;
        if (direct) {
            forward_one_channel(s, x, weights, bias, y, argmax, first, last, own);
            continue;
        }
#define DO(height, width, offset) \
    forward_tiles(s, height, width, x, u + offset * pairs, bias, y, argmax, first, last, own);
        FOR_EACH_TILE_KIND(DO)
#undef DO
    }
    return free(weights), free(scratch), 0;
}

/* Its gradients, overwritten. dx may be null; argmax and dbias are used only with s.pooled. Returns
 * 0, or 1 if memory is exhausted. */
int conv_backward(const float *x, const float *w, const long *w_stride, const float *dy,
                  const uint8_t *argmax, float *dx, float *dw, const long *dw_stride, float *dbias,
                  const conv_shape *shape, int threads) {
    const conv_shape s = *shape;
    const int direct = s.in_channels == 1;
    const long pairs = s.in_channels * s.out_channels, gradients = 9 * pairs + s.out_channels;
    const long matrices = 2 * MATRIX_STRIDE(s.in_channels) + MATRIX_STRIDE(s.out_channels) + pairs;
    const long buffers = direct ? padded_size(s) : PATCH * PATCH * matrices + 2 * s.in_channels;
    const long per_thread = gradients + buffers;
    float *weights = allocate((9 + PATCH_VALUES) * pairs);
    float *scratch = calloc(per_thread * threads, sizeof(float));
    if (!weights || !scratch) return free(weights), free(scratch), 1;
    float *u = weights + 9 * pairs;
    if (dx && !direct) {
        pack_weights(s, w, w_stride, 1, weights);
        transform_all_filters(s, weights, u);
    }
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int thread = 0; thread < threads; thread++) {
        long first, last;
        partition_range(s.images, thread, threads, &first, &last);
        float *own_dw = scratch + per_thread * thread, *own_dbias = own_dw + 9 * pairs;
        float *own = own_dbias + s.out_channels;
        if (direct) {
            backward_one_channel(s, x, dy, argmax, first, last, own, own_dw, own_dbias);
            continue;
        }
        const long image = s.height * s.width * s.in_channels;
        if (dx) memset(dx + first * image, 0, sizeof(float) * (last - first) * image);
#define DO(height, width, offset)                                                              \
    backward_tiles(s, height, width, x, u + offset * pairs, dy, argmax, dx, own_dw, own_dbias, \
                   first, last, own);
        FOR_EACH_TILE_KIND(DO)
#undef DO
    }
    for (int thread = 1; thread < threads; thread++)
        for (long i = 0; i < gradients; i++) scratch[i] += scratch[per_thread * thread + i];
    for (int k = 0; k < 9; k++)
        for (long o = 0; o < s.out_channels; o++)
            for (long i = 0; i < s.in_channels; i++)
                dw[weight_offset(dw_stride, o, i, k)] =
                    scratch[k * pairs + packed_index(s, o, i, 0)];
    if (s.pooled) memcpy(dbias, scratch + 9 * pairs, sizeof(float) * s.out_channels);
    return free(weights), free(scratch), 0;
}
