/* 3×3 convolution, optionally with 2×2 max pooling and ReLU in the same pass, and its gradients.
 *
 * With pooling, only the maximum of each window and its index (argmax) are stored, never the
 * convolution's full output. A single input channel is convolved directly. More channels use
 * Winograd's minimal filtering: each of the values of a transformed input patch is multiplied with
 * the transformed filters in a matrix product over a block of tiles.
 *
 * With s.bf16, outputs, and inputs of several channels, are bfloat16, and so are the factors of the
 * products; transforms and sums are float32, as are weights, biases and their gradients. */

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
INLINE void forward_one_channel(conv_shape s, const float *x, const float *w, const float *bias,
                                void *y, uint8_t *argmax, long first, long last, float *padded) {
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
                    vec pooled = max_pool_relu(sum, b, argmax ? argmax + at : 0);
                    store_values(y, at, pooled, s.bf16);
                }
        }
    }
}

/* Adds to dw (9, out_channels) and dbias. */
INLINE void backward_one_channel(conv_shape s, const float *x, const void *dy,
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
                    max_pool_relu_backward(load_values(dy, at, s.bf16), argmax + at, g);
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

/* c[m × n] = a[m × depth] · b[depth × n] for a block of `tiles`: m is their number or a little
 * larger. */
INLINE void multiply_block(conv_shape s, long tiles, long n, long depth, const void *a,
                           const void *b, float *c) {
    if (s.bf16) product_bf16((tiles + 3) / 4 * 4, n, depth, a, b, c);
    else product(BLOCK, n, depth, a, b, c);
}

/* Images `first` to `last`, tiles of one kind; u (patch, in·out). */
INLINE void forward_tiles(conv_shape s, const int height, const int width, const void *x,
                          const char *u, const float *bias, void *y, uint8_t *argmax, long first,
                          long last, float *scratch) {
    const tile_kind k = make_tile_kind(s, height, width);
    const long tiles = k.rows * k.columns, patch = (height + 2) * (width + 2);
    const long pairs = s.in_channels * s.out_channels, size = s.bf16 ? 2 : 4;
    const long in_stride = matrix_stride(s, s.in_channels, s.bf16);
    const long out_stride = matrix_stride(s, s.out_channels, 0);
    float *zeros = scratch, *v = zeros + s.in_channels;
    float *m = v + transformed_size(s, s.in_channels, s.bf16);
    for (long tile = first * tiles; tile < last * tiles; tile += block_size(s)) {
        long left = last * tiles - tile, count = left < block_size(s) ? left : block_size(s);
        transform_inputs(s, k, x, zeros, tile, count, v, 0);
        for (long i = 0; i < patch; i++)
            multiply_block(s, count, s.out_channels, s.in_channels,
                           (char *)v + i * in_stride * size, u + i * pairs * size,
                           m + i * out_stride);
        transform_outputs(s, k, m, bias, tile, count, y, argmax);
    }
}

/* Scratch memory of a thread's backward pass. */
typedef struct {
    float *dw, *dbias;         /* (9, in·out) and (out), sums of the thread */
    float *zeros, *discarded;  /* (in), for pixels of the padding */
    float *v, *dm, *dv;        /* transformed, of a block */
    float *du;                 /* (PATCH_VALUES, in·out) */
    float *dx;                 /* of a group of images, for s.bf16 */
} backward_scratch;

#define GROUP_VALUES (1 << 17)

/* Images whose input gradients are summed in float32 at a time. */
INLINE long group_size(conv_shape s) {
    const long image = s.height * s.width * s.in_channels;
    return image < GROUP_VALUES ? GROUP_VALUES / image : 1;
}

/* Divides `memory`, unless null, into the scratch memory of a thread; returns the number of floats.
 * For one input channel, v holds a padded image. */
static long divide_scratch(conv_shape s, float *memory, backward_scratch *to) {
    const long pairs = s.in_channels * s.out_channels, image = s.height * s.width * s.in_channels;
    const long in = s.in_channels, tiled = in > 1;
    const long sizes[] = {9 * pairs + s.out_channels, in, in,
                          tiled ? transformed_size(s, in, s.bf16) : padded_size(s),
                          tiled * transformed_size(s, s.out_channels, s.bf16),
                          tiled * transformed_size(s, in, 0), tiled * PATCH_VALUES * pairs,
                          tiled && s.bf16 ? group_size(s) * image : 0};
    float **fields[] = {&to->dw, &to->zeros, &to->discarded, &to->v,
                        &to->dm, &to->dv,    &to->du,        &to->dx};
    long floats = 0;
    for (int i = 0; i < 8; i++) {
        if (memory) *fields[i] = memory + floats;
        floats += (sizes[i] + 15) / 16 * 16;
    }
    if (memory) to->dbias = to->dw + 9 * pairs;
    return floats;
}

/* Gradients for `images` images and tiles of one kind: adds to dx (unless null), float32, and in
 * the scratch memory to du (patch, in·out) and dbias. u (patch, in·out) is transposed. */
INLINE void backward_tiles(conv_shape s, const int height, const int width, const void *x,
                           const char *u, const void *dy, const uint8_t *argmax, float *dx,
                           float *du, long images, backward_scratch own) {
    const tile_kind k = make_tile_kind(s, height, width);
    const long tiles = images * k.rows * k.columns, patch = (height + 2) * (width + 2);
    const long in = s.in_channels, out = s.out_channels, size = s.bf16 ? 2 : 4;
    const long in_stride = matrix_stride(s, in, s.bf16), dv_stride = matrix_stride(s, in, 0);
    const long out_stride = matrix_stride(s, out, s.bf16);
    for (long tile = 0; tile < tiles; tile += block_size(s)) {
        long left = tiles - tile, count = left < block_size(s) ? left : block_size(s);
        transform_inputs(s, k, x, own.zeros, tile, count, own.v, s.bf16);
        transform_outputs_backward(s, k, dy, argmax, tile, count, own.dm, own.dbias);
        for (long i = 0; i < patch; i++) {
            char *vi = (char *)own.v + i * in_stride * size;
            char *dmi = (char *)own.dm + i * out_stride * size;
            if (s.bf16 && count % 2) memset(dmi + count * out * size, 0, out * size);
            if (s.bf16)
                add_product_bf16(in, out, count + count % 2, (uint16_t *)vi, (uint16_t *)dmi,
                                 du + i * in * out);
            else add_product(in, out, count, (float *)vi, (float *)dmi, du + i * in * out);
            if (dx)
                multiply_block(s, count, in, out, dmi, u + i * in * out * size,
                               own.dv + i * dv_stride);
        }
        if (dx) transform_inputs_backward(s, k, own.dv, own.discarded, tile, count, dx);
    }
}

/* Gradients for images `first` to `last`: sets dx (unless null), and dw and dbias of the thread's
 * scratch memory. */
INLINE void backward_images(conv_shape s, const void *x, const char *u, const void *dy,
                            const uint8_t *argmax, void *dx, long first, long last,
                            backward_scratch own) {
    const long pairs = s.in_channels * s.out_channels, size = s.bf16 ? 2 : 4;
    const long image = s.height * s.width * s.in_channels;
    const long output = s.out_channels * (s.pooled ? pooled_height(s) * pooled_width(s)
                                                   : output_height(s) * output_width(s));
    memset(own.du, 0, sizeof(float) * PATCH_VALUES * pairs);
    for (long from = first, n; from < last; from += n) {
        n = s.bf16 && group_size(s) < last - from ? group_size(s) : last - from;
        float *sums = s.bf16 ? own.dx : (float *)dx + from * image;
        if (dx) memset(sums, 0, sizeof(float) * n * image);
#define DO(height, width, offset)                                                              \
    backward_tiles(s, height, width, (const char *)x + from * image * size,                    \
                   u + offset * pairs * size, (const char *)dy + from * output * size,         \
                   argmax ? argmax + from * output : 0, dx ? sums : 0, own.du + offset * pairs, \
                   n, own);
        FOR_EACH_TILE_KIND(DO)
#undef DO
        for (long i = 0; i < n * image && dx && s.bf16; i += LANES)
            store_values(dx, from * image + i, load(sums + i), 1);
    }
#define DO(height, width, offset)                                                       \
    transform_filters_backward(make_tile_kind(s, height, width), s.bf16, own.du + offset * pairs, \
                               pairs, own.dw);
    FOR_EACH_TILE_KIND(DO)
#undef DO
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

/* Transformed filters of every tile kind, from packed weights; with s.bf16 rounded, in pairs. */
static void transform_all_filters(conv_shape s, const float *w, int transposed, float *u) {
    const long pairs = s.in_channels * s.out_channels;
    const long rows = transposed ? s.out_channels : s.in_channels;
#define DO(height, width, offset)                                               \
    if (s.bf16 && BF16_CONVOLUTIONS)                                            \
        transform_filters(make_tile_kind(s, height, width), 1, w, pairs, u + offset * pairs); \
    else transform_filters(make_tile_kind(s, height, width), 0, w, pairs, u + offset * pairs);
    FOR_EACH_TILE_KIND(DO)
#undef DO
    for (long i = 0; i < PATCH_VALUES && s.bf16; i++) /* in place: a float is two of them */
        pack_pairs(u + i * pairs, rows, pairs / rows, (uint16_t *)u + i * pairs);
}

/* Images `first` to `last` on one thread. */
INLINE void forward_images(conv_shape s, const void *x, const float *w, const float *u,
                           const float *bias, void *y, uint8_t *argmax, long first, long last,
                           float *scratch) {
    const long pairs = s.in_channels * s.out_channels, size = s.bf16 ? 2 : 4;
    if (s.in_channels == 1) {
        memset(scratch, 0, sizeof(float) * padded_size(s));
        forward_one_channel(s, x, w, bias, y, argmax, first, last, scratch);
        return;
    }
    memset(scratch, 0, sizeof(float) * s.in_channels);
#define DO(height, width, offset)                                                             \
    forward_tiles(s, height, width, x, (const char *)u + offset * pairs * size, bias, y, argmax, \
                  first, last, scratch);
    FOR_EACH_TILE_KIND(DO)
#undef DO
}

/* The same shape, with s.bf16 as a compile-time constant. */
INLINE conv_shape with_bf16(conv_shape s, const int bf16) {
    s.bf16 = bf16;
    return s;
}

/* The convolution: with s.pooled also pooling, bias and ReLU, and argmax unless null. One input
 * channel requires s.pooled. Returns 0, 1 if memory is exhausted, or 2 if convolutions in bfloat16
 * are not compiled. */
int conv_forward(const void *x, const float *w, const long *w_stride, const float *bias, void *y,
                 uint8_t *argmax, const conv_shape *shape, int threads) {
    const conv_shape s = *shape;
    if (s.bf16 && !BF16_CONVOLUTIONS) return 2;
    const int direct = s.in_channels == 1;
    const long pairs = s.in_channels * s.out_channels;
    const long per_thread = direct ? padded_size(s)
                                   : s.in_channels + transformed_size(s, s.in_channels, s.bf16) +
                                         transformed_size(s, s.out_channels, 0);
    float *weights = allocate((9 + (direct ? 0 : PATCH_VALUES)) * pairs);
    float *scratch = allocate(per_thread * threads);
    if (!weights || !scratch) return free(weights), free(scratch), 1;
    float *u = weights + 9 * pairs;
    pack_weights(s, w, w_stride, 0, weights);
    if (!direct) transform_all_filters(s, weights, 0, u);
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int thread = 0; thread < threads; thread++) {
        long first, last;
        partition_range(s.images, thread, threads, &first, &last);
        float *own = scratch + per_thread * thread;
        if (s.bf16 && BF16_CONVOLUTIONS)
            forward_images(with_bf16(s, 1), x, weights, u, bias, y, argmax, first, last, own);
        else forward_images(with_bf16(s, 0), x, weights, u, bias, y, argmax, first, last, own);
    }
    return free(weights), free(scratch), 0;
}

/* One thread's gradients of images `first` to `last`. */
INLINE void backward_thread(conv_shape s, const void *x, const char *u, const void *dy,
                            const uint8_t *argmax, void *dx, long first, long last,
                            backward_scratch own) {
    memset(own.dw, 0, (char *)own.v - (char *)own.dw); /* sums and zeros */
    if (s.in_channels > 1) {
        backward_images(s, x, u, dy, argmax, dx, first, last, own);
        return;
    }
    memset(own.v, 0, sizeof(float) * padded_size(s));
    backward_one_channel(s, x, dy, argmax, first, last, own.v, own.dw, own.dbias);
}

/* Its gradients, overwritten. dx may be null; argmax and dbias are used only with s.pooled. Returns
 * as `conv_forward`. */
int conv_backward(const void *x, const float *w, const long *w_stride, const void *dy,
                  const uint8_t *argmax, void *dx, float *dw, const long *dw_stride, float *dbias,
                  const conv_shape *shape, int threads) {
    const conv_shape s = *shape;
    if (s.bf16 && !BF16_CONVOLUTIONS) return 2;
    const long pairs = s.in_channels * s.out_channels;
    backward_scratch own;
    const long per_thread = divide_scratch(s, 0, &own);
    float *weights = allocate((9 + PATCH_VALUES) * pairs);
    float *scratch = allocate(per_thread * threads);
    if (!weights || !scratch) return free(weights), free(scratch), 1;
    float *u = weights + 9 * pairs;
    if (dx) {
        pack_weights(s, w, w_stride, 1, weights);
        transform_all_filters(s, weights, 1, u);
    }
#pragma omp parallel for num_threads(threads) schedule(static, 1) private(own)
    for (int thread = 0; thread < threads; thread++) {
        long first, last;
        partition_range(s.images, thread, threads, &first, &last);
        divide_scratch(s, scratch + per_thread * thread, &own);
        if (s.bf16 && BF16_CONVOLUTIONS)
            backward_thread(with_bf16(s, 1), x, (char *)u, dy, argmax, dx, first, last, own);
        else backward_thread(with_bf16(s, 0), x, (char *)u, dy, argmax, dx, first, last, own);
    }
    for (int thread = 1; thread < threads; thread++) /* dw and dbias follow each other */
        for (long i = 0; i < 9 * pairs + s.out_channels; i++)
            scratch[i] += scratch[per_thread * thread + i];
    for (int k = 0; k < 9; k++)
        for (long o = 0; o < s.out_channels; o++)
            for (long i = 0; i < s.in_channels; i++)
                dw[weight_offset(dw_stride, o, i, k)] =
                    scratch[k * pairs + packed_index(s, o, i, 0)];
    if (s.pooled) memcpy(dbias, scratch + 9 * pairs, sizeof(float) * s.out_channels);
    return free(weights), free(scratch), 0;
}
