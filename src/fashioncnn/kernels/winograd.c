/* Winograd's minimal filtering in one dimension, F(m, 3): m outputs of a 3-tap filter from m + 2
 * inputs with m + 2 multiplications, y = Aᵀ(Gw ∘ Bᵀd) (Lavin and Gray 2016, arXiv:1509.09308). The
 * adjoint of each transform gives the gradients. m is 2 or 4, a compile-time constant.
 *
 * F(4, 3) interpolates at the points 0, ±a, ±b and infinity. In float32 a = 1 and b = 2, as Lavin
 * and Gray. Where the transformed values are rounded to bfloat16, a = 2/3 and b = 3/2, which gives
 * less than half of the rounding error (points with a·b = 1: Barabasz et al. 2020,
 * arXiv:1803.10986). */

#define POINT_A (bf16 ? 2.0f / 3 : 1.0f)
#define POINT_B (bf16 ? 3.0f / 2 : 2.0f)

/* Bᵀd */
INLINE void input_transform(const int m, const int bf16, const vec *d, vec *v) {
    if (m == 2) {
        v[0] = d[0] - d[2], v[1] = d[1] + d[2], v[2] = d[2] - d[1], v[3] = d[1] - d[3];
        return;
    }
    const float a = POINT_A, b = POINT_B, sum = a * a + b * b, product = bf16 ? 1 : 4; /* a²b² */
    vec even = d[4] - b * b * d[2], odd = d[3] - b * b * d[1];
    vec even2 = d[4] - a * a * d[2], odd2 = b * (d[3] - a * a * d[1]);
    if (bf16) odd *= a;
    v[0] = product * d[0] - sum * d[2] + d[4], v[5] = product * d[1] - sum * d[3] + d[5];
    v[1] = even + odd, v[2] = even - odd, v[3] = even2 + odd2, v[4] = even2 - odd2;
}

/* Bv */
INLINE void input_transform_adjoint(const int m, const int bf16, const vec *v, vec *d) {
    if (m == 2) {
        vec middle = v[1] - v[2] + v[3];
        d[0] = v[0], d[1] = middle, d[2] = v[1] + v[2] - v[0], d[3] = -v[3];
        return;
    }
    vec sum = v[1] + v[2], sum2 = v[3] + v[4];
    if (bf16) { /* a²b² = 1 */
        const float a = POINT_A, b = POINT_B, a2 = a * a, b2 = b * b;
        vec difference = a * (v[1] - v[2]), difference2 = b * (v[3] - v[4]);
        d[0] = v[0], d[5] = v[5];
        d[1] = v[5] - b2 * difference - a2 * difference2;
        d[2] = -(a2 + b2) * v[0] - b2 * sum - a2 * sum2;
        d[3] = difference + difference2 - (a2 + b2) * v[5], d[4] = v[0] + sum + sum2;
        return;
    }
    vec difference = v[1] - v[2], difference2 = 2 * (v[3] - v[4]);
    d[0] = 4 * v[0], d[5] = v[5];
    d[1] = 4 * (v[5] - difference) - difference2, d[2] = -5 * v[0] - 4 * sum - sum2;
    d[3] = difference + difference2 - 5 * v[5], d[4] = v[0] + sum + sum2;
}

/* Aᵀv */
INLINE void output_transform(const int m, const int bf16, const vec *v, vec *y) {
    if (m == 2) {
        y[0] = v[0] + v[1] + v[2], y[1] = v[1] - v[2] - v[3];
        return;
    }
    const float a = POINT_A, b = POINT_B;
    vec sum = v[1] + v[2], sum2 = v[3] + v[4], difference = v[1] - v[2], difference2 = v[3] - v[4];
    y[0] = v[0] + sum + sum2, y[1] = a * difference + b * difference2;
    y[2] = a * a * sum + b * b * sum2;
    y[3] = a * a * a * difference + b * b * b * difference2 + v[5];
}

/* Ay */
INLINE void output_transform_adjoint(const int m, const int bf16, const vec *y, vec *v) {
    if (m == 2) {
        v[0] = y[0], v[1] = y[0] + y[1], v[2] = y[0] - y[1], v[3] = -y[1];
        return;
    }
    const float a = POINT_A, b = POINT_B;
    vec even = y[0] + a * a * y[2], odd = a * y[1] + a * a * a * y[3];
    vec even2 = y[0] + b * b * y[2], odd2 = b * y[1] + b * b * b * y[3];
    v[0] = y[0], v[1] = even + odd, v[2] = even - odd, v[3] = even2 + odd2, v[4] = even2 - odd2;
    v[5] = y[3];
}

/* Gw */
INLINE void filter_transform(const int m, const int bf16, const vec *w, vec *u) {
    if (m == 2) {
        vec even = (w[0] + w[2]) / 2, odd = w[1] / 2;
        u[0] = w[0], u[1] = even + odd, u[2] = even - odd, u[3] = w[2];
        return;
    }
    if (bf16) {
        const float a = POINT_A, b = POINT_B, a2 = a * a, b2 = b * b;
        const float at_a = 1 / (2 * a2 * (a2 - b2)), at_b = 1 / (2 * b2 * (b2 - a2));
        vec even = at_a * w[0] + a2 * at_a * w[2], odd = a * at_a * w[1];
        vec even2 = at_b * w[0] + b2 * at_b * w[2], odd2 = b * at_b * w[1];
        u[0] = w[0], u[1] = even + odd, u[2] = even - odd, u[3] = even2 + odd2;
        u[4] = even2 - odd2, u[5] = w[2];
        return;
    }
    vec even = (w[0] + w[2]) / -6, odd = w[1] / -6;
    vec even2 = w[0] / 24 + w[2] / 6, odd2 = w[1] / 12;
    u[0] = w[0] / 4, u[1] = even + odd, u[2] = even - odd, u[3] = even2 + odd2, u[4] = even2 - odd2;
    u[5] = w[2];
}

/* Gᵀu */
INLINE void filter_transform_adjoint(const int m, const int bf16, const vec *u, vec *w) {
    if (m == 2) {
        vec sum = (u[1] + u[2]) / 2;
        w[0] = u[0] + sum, w[1] = (u[1] - u[2]) / 2, w[2] = sum + u[3];
        return;
    }
    if (bf16) {
        const float a = POINT_A, b = POINT_B, a2 = a * a, b2 = b * b;
        const float at_a = 1 / (2 * a2 * (a2 - b2)), at_b = 1 / (2 * b2 * (b2 - a2));
        vec sum = at_a * (u[1] + u[2]), sum2 = at_b * (u[3] + u[4]);
        w[0] = u[0] + sum + sum2, w[2] = a2 * sum + b2 * sum2 + u[5];
        w[1] = a * at_a * (u[1] - u[2]) + b * at_b * (u[3] - u[4]);
        return;
    }
    vec sum = (u[1] + u[2]) / -6, sum2 = u[3] + u[4];
    w[0] = u[0] / 4 + sum + sum2 / 24, w[1] = (u[2] - u[1]) / 6 + (u[3] - u[4]) / 12;
    w[2] = sum + sum2 / 6 + u[5];
}
