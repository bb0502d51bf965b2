/* Winograd's minimal filtering in one dimension, F(m, 3): m outputs of a 3-tap filter from m + 2
 * inputs with m + 2 multiplications, y = Aᵀ(Gw ∘ Bᵀd) (Lavin and Gray 2016, arXiv:1509.09308; the
 * matrices are theirs). The adjoint of each transform gives the gradients. m is 2 or 4, a
 * compile-time constant. */

/* Bᵀd */
INLINE void input_transform(const int m, const vec *d, vec *v) {
    if (m == 2) {
        v[0] = d[0] - d[2], v[1] = d[1] + d[2], v[2] = d[2] - d[1], v[3] = d[1] - d[3];
        return;
    }
    vec even = d[4] - 4 * d[2], odd = d[3] - 4 * d[1];
    vec even2 = d[4] - d[2], odd2 = 2 * (d[3] - d[1]);
    v[0] = 4 * d[0] - 5 * d[2] + d[4], v[5] = 4 * d[1] - 5 * d[3] + d[5];
    v[1] = even + odd, v[2] = even - odd, v[3] = even2 + odd2, v[4] = even2 - odd2;
}

/* Bv */
INLINE void input_transform_adjoint(const int m, const vec *v, vec *d) {
    if (m == 2) {
        vec middle = v[1] - v[2] + v[3];
        d[0] = v[0], d[1] = middle, d[2] = v[1] + v[2] - v[0], d[3] = -v[3];
        return;
    }
    vec sum = v[1] + v[2], sum2 = v[3] + v[4];
    vec difference = v[1] - v[2], difference2 = 2 * (v[3] - v[4]);
    d[0] = 4 * v[0], d[5] = v[5];
    d[1] = 4 * (v[5] - difference) - difference2, d[2] = -5 * v[0] - 4 * sum - sum2;
    d[3] = difference + difference2 - 5 * v[5], d[4] = v[0] + sum + sum2;
}

/* Aᵀv */
INLINE void output_transform(const int m, const vec *v, vec *y) {
    if (m == 2) {
        y[0] = v[0] + v[1] + v[2], y[1] = v[1] - v[2] - v[3];
        return;
    }
    vec sum = v[1] + v[2], sum2 = v[3] + v[4], difference = v[1] - v[2], difference2 = v[3] - v[4];
    y[0] = v[0] + sum + sum2, y[1] = difference + 2 * difference2, y[2] = sum + 4 * sum2;
    y[3] = difference + 8 * difference2 + v[5];
}

/* Ay */
INLINE void output_transform_adjoint(const int m, const vec *y, vec *v) {
    if (m == 2) {
        v[0] = y[0], v[1] = y[0] + y[1], v[2] = y[0] - y[1], v[3] = -y[1];
        return;
    }
    vec even = y[0] + y[2], odd = y[1] + y[3], even2 = y[0] + 4 * y[2], odd2 = 2 * y[1] + 8 * y[3];
    v[0] = y[0], v[1] = even + odd, v[2] = even - odd, v[3] = even2 + odd2, v[4] = even2 - odd2;
    v[5] = y[3];
}

/* Gw */
INLINE void filter_transform(const int m, const vec *w, vec *u) {
    if (m == 2) {
        vec even = (w[0] + w[2]) / 2, odd = w[1] / 2;
        u[0] = w[0], u[1] = even + odd, u[2] = even - odd, u[3] = w[2];
        return;
    }
    vec even = (w[0] + w[2]) / -6, odd = w[1] / -6;
    vec even2 = w[0] / 24 + w[2] / 6, odd2 = w[1] / 12;
    u[0] = w[0] / 4, u[1] = even + odd, u[2] = even - odd, u[3] = even2 + odd2, u[4] = even2 - odd2;
    u[5] = w[2];
}

/* Gᵀu */
INLINE void filter_transform_adjoint(const int m, const vec *u, vec *w) {
    if (m == 2) {
        vec sum = (u[1] + u[2]) / 2;
        w[0] = u[0] + sum, w[1] = (u[1] - u[2]) / 2, w[2] = sum + u[3];
        return;
    }
    vec sum = (u[1] + u[2]) / -6, sum2 = u[3] + u[4];
    w[0] = u[0] / 4 + sum + sum2 / 24, w[1] = (u[2] - u[1]) / 6 + (u[3] - u[4]) / 12;
    w[2] = sum + sum2 / 6 + u[5];
}
