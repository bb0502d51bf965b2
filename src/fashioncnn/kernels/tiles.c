/* Tiles of the Winograd convolution: their positions, and their two-dimensional
 * transforms.
 *
 * A tile of 4×4 outputs needs 36 multiplications instead of 144, one of 2×2 outputs 16 instead of
 * 36. Along each axis the outputs are divided into tiles of 4 and, where one or two outputs remain,
 * one tile of 2 (for three, another one of 4). Outputs beyond the image are not stored; their
 * gradients are zero. */

typedef struct { /* the same as fashioncnn.kernels.library.ConvShape */
    long images, height, width, in_channels, out_channels, padding;
    long pooled; /* whether 2×2 max pooling and ReLU follow */
    long bf16;   /* whether images (of several channels) and outputs are bfloat16 */
} conv_shape;

INLINE long pooled_height(conv_shape s) { return (s.height + 2 * s.padding - 2) / 2; }
INLINE long pooled_width(conv_shape s) { return (s.width + 2 * s.padding - 2) / 2; }
/* The convolution's computed output: complete windows only where it is pooled. */
INLINE long output_height(conv_shape s) {
    return s.pooled ? 2 * pooled_height(s) : s.height + 2 * s.padding - 2;
}
INLINE long output_width(conv_shape s) {
    return s.pooled ? 2 * pooled_width(s) : s.width + 2 * s.padding - 2;
}

/* One of the four kinds of tiles: 4 or 2 outputs in either direction. */
typedef struct {
    int height, width;  /* outputs per tile; its input patch is 2 larger */
    long rows, columns; /* tiles per image */
    long top, left;     /* output coordinates of the first tile */
} tile_kind;

/* Calls DO(height, width, offset) for every kind; `offset` counts the values of the patches of the
 * kinds before it. */
#define FOR_EACH_TILE_KIND(DO) DO(4, 4, 0) DO(4, 2, 36) DO(2, 4, 60) DO(2, 2, 84)
#define PATCH_VALUES 100 /* 6·6 + 6·4 + 4·6 + 4·4 */

INLINE long count_tiles(long outputs, const int size) {
    long rest = outputs % 4;
    return size == 4 ? outputs / 4 + (rest == 3) : rest == 1 || rest == 2;
}

INLINE tile_kind make_tile_kind(conv_shape s, const int height, const int width) {
    long rows = output_height(s), columns = output_width(s);
    return (tile_kind){height, width, count_tiles(rows, height), count_tiles(columns, width),
                       height == 4 ? 0 : rows / 4 * 4, width == 4 ? 0 : columns / 4 * 4};
}

#define PATCH 6 /* side of the largest input patch */
#ifndef BLOCK
#define BLOCK 24 /* tiles processed together, a multiple of TILE_ROWS */
#endif
#ifndef BF16_BLOCK
#define BF16_BLOCK 48 /* the same where the transformed values are bfloat16 */
#endif

INLINE long block_size(conv_shape s) { return s.bf16 ? BF16_BLOCK : BLOCK; }

/* Distance between two (block, channels) matrices of float32 values or, with `bf16`, of bfloat16
 * values: one cache line more than their size, because powers of two would all map to the same few
 * sets of the first-level cache. */
INLINE long matrix_stride(conv_shape s, long channels, const int bf16) {
    return block_size(s) * channels + (bf16 ? 32 : 16);
}

/* Memory of transformed values, (PATCH·PATCH, block, channels), in floats. */
INLINE long transformed_size(conv_shape s, long channels, const int bf16) {
    return PATCH * PATCH * matrix_stride(s, channels, bf16) / (bf16 ? 2 : 1);
}

typedef struct {
    long image, top, left; /* output coordinates */
} tile_position;

INLINE tile_position locate_tile(tile_kind k, long tile) {
    long tiles = k.rows * k.columns, within = tile % tiles;
    return (tile_position){tile / tiles, k.top + within / k.columns * k.height,
                           k.left + within % k.columns * k.width};
}

/* Pointers to the pixels of a tile's input patch, of values of `size` bytes; `outside` for pixels
 * of the padding. */
INLINE void locate_patch(conv_shape s, tile_kind k, tile_position p, const int size, char *images,
                         char *outside, char *pixel[PATCH][PATCH]) {
    char *image = images + p.image * s.height * s.width * s.in_channels * size;
    for (int i = 0; i < k.height + 2; i++)
        for (int j = 0; j < k.width + 2; j++) {
            long y = p.top - s.padding + i, x = p.left - s.padding + j;
            int inside = y >= 0 && y < s.height && x >= 0 && x < s.width;
            pixel[i][j] = inside ? image + (y * s.width + x) * s.in_channels * size : outside;
        }
}

/* Offset of window (i, j) of a tile in the pooled output. */
INLINE long pooled_offset(conv_shape s, tile_position p, int i, int j) {
    long row = p.image * pooled_height(s) + p.top / 2 + i;
    return (row * pooled_width(s) + p.left / 2 + j) * s.out_channels;
}

/* Offset of output (i, j) of a tile in the convolution's output, or -1 beyond the image. */
INLINE long output_offset(conv_shape s, tile_position p, int i, int j) {
    long y = p.top + i, x = p.left + j, rows = output_height(s), columns = output_width(s);
    return y < rows && x < columns ? ((p.image * rows + y) * columns + x) * s.out_channels : -1;
}

/* Rounds v to bfloat16 and stores it as the first or, if `second`, the second values of pairs. */
INLINE void store_in_pairs(uint16_t *pairs, vec v, int second) {
    pairs_vec *at = (pairs_vec *)pairs;
    const uint32_t keep = second ? 0xffff : 0, shift = second ? 16 : 0;
#if HAS_BF16_PRODUCTS
    uvec bits = (uvec)_mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)v));
#else
    uvec bits = round_to_bf16(v) >> 16;
#endif
    *at = (*at & keep) | bits << shift;
}

/* v = Bᵀ d B for `count` tiles from number `first`: (patch, block, in_channels). `zeros` is read
 * for pixels of the padding. With `in_pairs`, v holds pairs of tiles, (patch, block / 2,
 * in_channels, 2); the missing tile of an odd count is zero. */
INLINE void transform_inputs(conv_shape s, tile_kind k, const void *x, const void *zeros,
                             long first, long count, void *v, const int in_pairs) {
    const long stride = matrix_stride(s, s.in_channels, s.bf16);
    const int height = k.height + 2, width = k.width + 2;
    for (long t = 0; t < count; t++) {
        char *pixel[PATCH][PATCH];
        locate_patch(s, k, locate_tile(k, first + t), s.bf16 ? 2 : 4, (char *)x, (char *)zeros,
                     pixel);
        for (long c = 0; c < s.in_channels; c += LANES) {
            vec half[PATCH][PATCH];
#pragma GCC unroll 6
            for (int j = 0; j < width; j++) {
                vec d[PATCH], to[PATCH];
                for (int i = 0; i < height; i++) d[i] = load_values(pixel[i][j], c, s.bf16);
                input_transform(k.height, s.bf16, d, to);
                for (int i = 0; i < height; i++) half[i][j] = to[i];
            }
#pragma GCC unroll 6
            for (int i = 0; i < height; i++) {
                vec to[PATCH];
                input_transform(k.width, s.bf16, half[i], to);
                for (int j = 0; j < width; j++) {
                    const long matrix = (i * width + j) * stride;
                    if (in_pairs)
                        store_in_pairs((uint16_t *)v + matrix + t / 2 * 2 * s.in_channels + 2 * c,
                                       to[j], t % 2);
                    else store_values(v, matrix + t * s.in_channels + c, to[j], s.bf16);
                }
            }
        }
    }
}

/* dx += B dv Bᵀ for `count` tiles, float32; gradients of the padding are added to `discarded`. */
INLINE void transform_inputs_backward(conv_shape s, tile_kind k, const float *dv, float *discarded,
                                      long first, long count, float *dx) {
    const long stride = matrix_stride(s, s.in_channels, 0);
    const int height = k.height + 2, width = k.width + 2;
    for (long t = 0; t < count; t++) {
        char *pixel[PATCH][PATCH];
        locate_patch(s, k, locate_tile(k, first + t), sizeof(float), (char *)dx,
                     (char *)discarded, pixel);
        for (long c = 0; c < s.in_channels; c += LANES) {
            vec half[PATCH][PATCH];
#pragma GCC unroll 6
            for (int j = 0; j < width; j++) {
                vec from[PATCH], d[PATCH];
                for (int i = 0; i < height; i++)
                    from[i] = load(dv + (i * width + j) * stride + t * s.in_channels + c);
                input_transform_adjoint(k.height, s.bf16, from, d);
                for (int i = 0; i < height; i++) half[i][j] = d[i];
            }
#pragma GCC unroll 6
            for (int i = 0; i < height; i++) {
                vec d[PATCH];
                input_transform_adjoint(k.width, s.bf16, half[i], d);
                for (int j = 0; j < width; j++) {
                    float *at = (float *)pixel[i][j] + c;
                    store(at, load(at) + d[j]);
                }
            }
        }
    }
}

/* y = Aᵀ m A for `count` tiles, with pooling, bias and ReLU if s.pooled. `argmax` may be null. */
INLINE void transform_outputs(conv_shape s, tile_kind k, const float *m, const float *bias,
                              long first, long count, void *y, uint8_t *argmax) {
    const long stride = matrix_stride(s, s.out_channels, 0);
    const int height = k.height + 2, width = k.width + 2;
    for (long t = 0; t < count; t++) {
        tile_position p = locate_tile(k, first + t);
        for (long c = 0; c < s.out_channels; c += LANES) {
            vec half[PATCH][PATCH], full[4][4];
#pragma GCC unroll 6
            for (int j = 0; j < width; j++) {
                vec from[PATCH], to[4];
                for (int i = 0; i < height; i++)
                    from[i] = load(m + (i * width + j) * stride + t * s.out_channels + c);
                output_transform(k.height, s.bf16, from, to);
                for (int i = 0; i < k.height; i++) half[i][j] = to[i];
            }
#pragma GCC unroll 4
            for (int i = 0; i < k.height; i++) output_transform(k.width, s.bf16, half[i], full[i]);
            for (int i = 0; i < k.height && !s.pooled; i++)
                for (int j = 0; j < k.width; j++) {
                    long at = output_offset(s, p, i, j);
                    if (at >= 0) store_values(y, at + c, full[i][j], s.bf16);
                }
            for (int i = 0; i < k.height / 2 && s.pooled; i++)
                for (int j = 0; j < k.width / 2; j++) {
                    vec window[4] = {full[2 * i][2 * j], full[2 * i][2 * j + 1],
                                     full[2 * i + 1][2 * j], full[2 * i + 1][2 * j + 1]};
                    long at = pooled_offset(s, p, i, j) + c;
                    vec pooled = max_pool_relu(window, load(bias + c), argmax ? argmax + at : 0);
                    store_values(y, at, pooled, s.bf16);
                }
        }
    }
}

/* dm = A dy Aᵀ for `count` tiles; adds the gradient of the bias to dbias if s.pooled. */
INLINE void transform_outputs_backward(conv_shape s, tile_kind k, const void *dy,
                                       const uint8_t *argmax, long first, long count, void *dm,
                                       float *dbias) {
    const long stride = matrix_stride(s, s.out_channels, s.bf16);
    const int height = k.height + 2, width = k.width + 2;
    for (long t = 0; t < count; t++) {
        tile_position p = locate_tile(k, first + t);
        for (long c = 0; c < s.out_channels; c += LANES) {
            vec full[4][4], half[PATCH][4], sum = load(dbias + c);
            for (int i = 0; i < k.height && !s.pooled; i++)
                for (int j = 0; j < k.width; j++) {
                    long at = output_offset(s, p, i, j);
                    full[i][j] = at >= 0 ? load_values(dy, at + c, s.bf16) : (vec){0};
                }
            for (int i = 0; i < k.height / 2 && s.pooled; i++)
                for (int j = 0; j < k.width / 2; j++) {
                    long at = pooled_offset(s, p, i, j) + c;
                    vec window[4];
                    max_pool_relu_backward(load_values(dy, at, s.bf16), argmax + at, window);
                    full[2 * i][2 * j] = window[0], full[2 * i][2 * j + 1] = window[1];
                    full[2 * i + 1][2 * j] = window[2], full[2 * i + 1][2 * j + 1] = window[3];
                    sum += window[0] + window[1] + window[2] + window[3];
                }
            store(dbias + c, sum);
#pragma GCC unroll 4
            for (int j = 0; j < k.width; j++) {
                vec from[4], to[PATCH];
                for (int i = 0; i < k.height; i++) from[i] = full[i][j];
                output_transform_adjoint(k.height, s.bf16, from, to);
                for (int i = 0; i < height; i++) half[i][j] = to[i];
            }
#pragma GCC unroll 6
            for (int i = 0; i < height; i++) {
                vec to[PATCH];
                output_transform_adjoint(k.width, s.bf16, half[i], to);
                for (int j = 0; j < width; j++)
                    store_values(dm, (i * width + j) * stride + t * s.out_channels + c, to[j],
                                 s.bf16);
            }
        }
    }
}

/* u = G w Gᵀ, (patch, in·out), from packed weights w, (9, in·out). */
INLINE void transform_filters(tile_kind k, const int bf16, const float *w, long pairs, float *u) {
    for (long c = 0; c < pairs; c += LANES) {
        vec half[PATCH][3];
        for (int j = 0; j < 3; j++) {
            vec from[3], to[PATCH];
            for (int i = 0; i < 3; i++) from[i] = load(w + (3 * i + j) * pairs + c);
            filter_transform(k.height, bf16, from, to);
            for (int i = 0; i < k.height + 2; i++) half[i][j] = to[i];
        }
        for (int i = 0; i < k.height + 2; i++) {
            vec to[PATCH];
            filter_transform(k.width, bf16, half[i], to);
            for (int j = 0; j < k.width + 2; j++)
                store(u + (i * (k.width + 2) + j) * pairs + c, to[j]);
        }
    }
}

/* dw += Gᵀ du G, (9, in·out). */
INLINE void transform_filters_backward(tile_kind k, const int bf16, const float *du, long pairs,
                                       float *dw) {
    for (long c = 0; c < pairs; c += LANES) {
        vec half[3][PATCH];
        for (int j = 0; j < k.width + 2; j++) {
            vec from[PATCH], to[3];
            for (int i = 0; i < k.height + 2; i++)
                from[i] = load(du + (i * (k.width + 2) + j) * pairs + c);
            filter_transform_adjoint(k.height, bf16, from, to);
            for (int i = 0; i < 3; i++) half[i][j] = to[i];
        }
        for (int i = 0; i < 3; i++) {
            vec to[3];
            filter_transform_adjoint(k.width, bf16, half[i], to);
            for (int j = 0; j < 3; j++) {
                float *at = dw + (3 * i + j) * pairs + c;
                store(at, load(at) + to[j]);
            }
        }
    }
}
