/* Matrix products for the Winograd convolutions: small matrices that stay in the cache. */

#define PANEL (2 * LANES) /* columns of a register tile */
#define TILE_ROWS (LANES == 8 ? 6 : LANES == 16 ? 12 : 4) /* rows of a register tile */

/* c[rows × PANEL] (+)= a[rows × depth] · b[depth × PANEL] */
INLINE void multiply_tile(const int rows, const float *a, long a_row, long a_step, const float *b,
                          long b_step, float *c, long c_row, long depth, const int accumulate) {
    vec sum[TILE_ROWS][2];
    for (int r = 0; r < rows; r++) {
        sum[r][0] = accumulate ? load(c + r * c_row) : (vec){0};
        sum[r][1] = accumulate ? load(c + r * c_row + LANES) : (vec){0};
    }
    for (long k = 0; k < depth; k++) {
        vec low = load(b + k * b_step), high = load(b + k * b_step + LANES);
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++) {
            vec value = broadcast(a[r * a_row + k * a_step]);
            sum[r][0] += value * low;
            sum[r][1] += value * high;
        }
    }
    for (int r = 0; r < rows; r++) {
        store(c + r * c_row, sum[r][0]);
        store(c + r * c_row + LANES, sum[r][1]);
    }
}

/* c[m × n] (+)= a[m × depth] · b[depth × n], n a multiple of PANEL. Columns of b and c come in
 * panels of PANEL columns. `*_row` is the distance between rows, `*_panel` between panels, `a_step`
 * between columns of a. Register tiles of TILE_ROWS rows are used as long as the rest is a multiple
 * of 4. */
INLINE void multiply(long m, long n, long depth, const float *a, long a_row, long a_step,
                     const float *b, long b_row, long b_panel, float *c, long c_row, long c_panel,
                     const int accumulate) {
    long full = m - m % TILE_ROWS;
    while (full > 0 && (m - full) % 4) full -= TILE_ROWS;
    for (long j = 0; j < n / PANEL; j++, b += b_panel, c += c_panel) {
        long i = 0;
        for (; i < full; i += TILE_ROWS)
            multiply_tile(TILE_ROWS, a + i * a_row, a_row, a_step, b, b_row, c + i * c_row, c_row,
                          depth, accumulate);
        for (; i + 4 <= m; i += 4)
            multiply_tile(4, a + i * a_row, a_row, a_step, b, b_row, c + i * c_row, c_row, depth,
                          accumulate);
        for (; i < m; i++)
            multiply_tile(1, a + i * a_row, a_row, a_step, b, b_row, c + i * c_row, c_row, depth,
                          accumulate);
    }
}

/* c[m × n] = a[m × depth] · b[depth × n], b in panels. */
static __attribute__((noinline)) void product(long m, long n, long depth, const float *a,
                                              const float *b, float *c) {
    multiply(m, n, depth, a, depth, 1, b, PANEL, depth * PANEL, c, n, PANEL, 0);
}

/* c[m × n] += a[depth × m]ᵀ · b[depth × n], c in panels. */
static __attribute__((noinline)) void add_product(long m, long n, long depth, const float *a,
                                                  const float *b, float *c) {
    multiply(m, n, depth, a, 1, m, b, n, PANEL, c, PANEL, m * PANEL, 1);
}
