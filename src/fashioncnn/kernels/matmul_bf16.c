/* Products of bfloat16 matrices with float32 sums, for the Winograd convolutions.
 *
 * The inner index comes in pairs: 32 bits hold two consecutive bfloat16 values of it, as the
 * instruction vdpbf16ps (AVX-512 BF16) multiplies and adds them. Processors without it use
 * PyTorch's convolutions in bfloat16. For tests on these, BF16_CONVOLUTIONS=1 compiles ours with
 * float32 instructions. */

#if LANES == 16 && defined(__AVX512BF16__)
#define HAS_BF16_PRODUCTS 1
#else
#define HAS_BF16_PRODUCTS 0
#endif
#ifndef BF16_CONVOLUTIONS
#define BF16_CONVOLUTIONS HAS_BF16_PRODUCTS
#endif

int has_bf16_convolutions(void) { return BF16_CONVOLUTIONS; }

typedef uint32_t pairs_vec __attribute__((vector_size(4 * LANES), aligned(2), may_alias));
typedef uint32_t pair __attribute__((aligned(2), may_alias));

/* sum + a.low · b.low + a.high · b.high, lane by lane. */
INLINE vec add_pair_products(vec sum, uvec a, uvec b) {
#if HAS_BF16_PRODUCTS
    return (vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)(__m512i)a, (__m512bh)(__m512i)b);
#else
    return sum + (vec)(a << 16) * (vec)(b << 16) + (vec)(a & 0xffff0000) * (vec)(b & 0xffff0000);
#endif
}

/* Pairs of two rows of PANEL values: (even[i], odd[i]) for each column i. */
INLINE void interleave_rows(const uint16_t *even, const uint16_t *odd, uvec *low, uvec *high) {
#if LANES == 16 && defined(__AVX512BW__)
    static const uint16_t order[64] __attribute__((aligned(64))) = {
        0,  32, 1,  33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39, 8,  40, 9,  41, 10, 42,
        11, 43, 12, 44, 13, 45, 14, 46, 15, 47, 16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21, 53,
        22, 54, 23, 55, 24, 56, 25, 57, 26, 58, 27, 59, 28, 60, 29, 61, 30, 62, 31, 63};
    __m512i a = _mm512_loadu_si512(even), b = _mm512_loadu_si512(odd);
    *low = (uvec)_mm512_permutex2var_epi16(a, _mm512_load_si512(order), b);
    *high = (uvec)_mm512_permutex2var_epi16(a, _mm512_load_si512(order + 32), b);
#else
    *low = __builtin_convertvector(*(const halfvec *)even, uvec) |
           __builtin_convertvector(*(const halfvec *)odd, uvec) << 16;
    *high = __builtin_convertvector(*(const halfvec *)(even + LANES), uvec) |
            __builtin_convertvector(*(const halfvec *)(odd + LANES), uvec) << 16;
#endif
}

/* c[rows × PANEL] (+)= a[rows × 2·depth] · b[2·depth × PANEL]. a in pairs; b in pairs, or with
 * `b_rows` plain rows that are interleaved here. Distances in pairs, for plain rows in values. */
INLINE void multiply_tile_bf16(const int rows, const pair *a, long a_row, long a_step,
                               const void *b, long b_step, const int b_rows, float *c, long c_row,
                               long depth, const int accumulate) {
    vec sum[TILE_ROWS][2];
    for (int r = 0; r < rows; r++) {
        sum[r][0] = accumulate ? load(c + r * c_row) : (vec){0};
        sum[r][1] = accumulate ? load(c + r * c_row + LANES) : (vec){0};
    }
    for (long k = 0; k < depth; k++) {
        uvec low, high;
        if (b_rows) {
            const uint16_t *even = (const uint16_t *)b + 2 * k * b_step;
            interleave_rows(even, even + b_step, &low, &high);
        } else {
            const pair *from = (const pair *)b + k * b_step;
            low = *(const pairs_vec *)from, high = *(const pairs_vec *)(from + LANES);
        }
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++) {
            uvec value = a[r * a_row + k * a_step] - (uvec){0};
            sum[r][0] = add_pair_products(sum[r][0], value, low);
            sum[r][1] = add_pair_products(sum[r][1], value, high);
        }
    }
    for (int r = 0; r < rows; r++) {
        store(c + r * c_row, sum[r][0]);
        store(c + r * c_row + LANES, sum[r][1]);
    }
}

/* c[m × n] (+)= a[m × 2·depth] · b[2·depth × n], m a multiple of 4, n of PANEL; see
 * `multiply_tile_bf16` and `multiply`. */
INLINE void multiply_bf16(long m, long n, long depth, const pair *a, long a_row, long a_step,
                          const char *b, long b_step, const int b_rows, long b_panel_bytes,
                          float *c, long c_row, long c_panel, const int accumulate) {
    for (long j = 0; j < n / PANEL; j++, b += b_panel_bytes, c += c_panel) {
        long i = 0;
        for (; i + TILE_ROWS <= m; i += TILE_ROWS)
            multiply_tile_bf16(TILE_ROWS, a + i * a_row, a_row, a_step, b, b_step, b_rows,
                               c + i * c_row, c_row, depth, accumulate);
        for (; i + 8 <= m && TILE_ROWS > 8; i += 8)
            multiply_tile_bf16(8, a + i * a_row, a_row, a_step, b, b_step, b_rows, c + i * c_row,
                               c_row, depth, accumulate);
        for (; i + 4 <= m; i += 4)
            multiply_tile_bf16(4, a + i * a_row, a_row, a_step, b, b_step, b_rows, c + i * c_row,
                               c_row, depth, accumulate);
        for (; i + 2 <= m; i += 2)
            multiply_tile_bf16(2, a + i * a_row, a_row, a_step, b, b_step, b_rows, c + i * c_row,
                               c_row, depth, accumulate);
    }
}

/* c[m × n] = a[m × depth] · b[depth × n], m even; b in panels of pairs (`pack_pairs`). */
static __attribute__((noinline)) void product_bf16(long m, long n, long depth, const uint16_t *a,
                                                   const uint16_t *b, float *c) {
    multiply_bf16(m, n, depth / 2, (const pair *)a, depth / 2, 1, (const char *)b, PANEL, 0,
                  2 * depth * PANEL, c, n, PANEL, 0);
}

/* c[m × n] += a[depth × m]ᵀ · b[depth × n], depth even; c in panels. a holds (depth / 2, m) pairs,
 * b plain rows. */
static __attribute__((noinline)) void add_product_bf16(long m, long n, long depth,
                                                       const uint16_t *a, const uint16_t *b,
                                                       float *c) {
    multiply_bf16(m, n, depth / 2, (const pair *)a, 1, m, (const char *)b, n, 1, 2 * PANEL, c,
                  PANEL, m * PANEL, 1);
}

/* Rounds a (rows, columns) matrix in panels, rows even, to panels of pairs of rows. */
static void pack_pairs(const float *from, long rows, long columns, uint16_t *to) {
    for (long r = 0; r < rows * columns / PANEL; r += 2) /* panels follow each other */
        for (long c = 0; c < PANEL; c += LANES) {
            uvec even = round_to_bf16(load(from + r * PANEL + c)) >> 16;
            uvec odd = round_to_bf16(load(from + (r + 1) * PANEL + c)) & 0xffff0000;
            *(pairs_vec *)(to + r * PANEL + 2 * c) = even | odd;
        }
}
