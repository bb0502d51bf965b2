/* One step of Adam (Kingma and Ba 2015, arXiv:1412.6980) or AdamW in a single pass. */

typedef struct { /* the same as fashioncnn.kernels.library.AdamStep */
    float step_size;              /* learning rate / (1 - beta1ᵗ) */
    float one_minus_beta1, one_minus_beta2;
    float beta2, eps;
    float root_bias_correction2;  /* sqrt(1 - beta2ᵗ) */
    float l2;                     /* times the weight, added to the gradient (Adam) */
    float shrink;                 /* factor of the weight before the update (AdamW) */
} adam_options;

/* Treats subnormal values (below 1.2e-38) as zero on this thread, because processors compute with
 * them a hundred times slower. Returns the state to restore. Does nothing on processors other than
 * x86. */
INLINE unsigned flush_subnormals(void) {
    unsigned before = 0;
#if defined(__SSE2__)
    before = _mm_getcsr();
    _mm_setcsr(before | 0x8040); /* FTZ and DAZ: Intel's manual, volume 1, 10.2.3 */
#endif
    return before;
}

INLINE void restore_subnormals(unsigned before) {
#if defined(__SSE2__)
    _mm_setcsr(before);
#endif
    (void)before;
}

/* Updates n weights and their first and second moments in place. Weights that only decay shrink
 * forever and would soon be subnormal. */
void adam_step(float *w, const float *gradient, float *mean, float *square, long n,
               const adam_options *options, int threads) {
    const adam_options a = *options;
#pragma omp parallel num_threads(threads)
    {
        const unsigned before = flush_subnormals();
#pragma omp for simd schedule(static) nowait
        for (long i = 0; i < n; i++) {
            float g = gradient[i] + a.l2 * w[i];
            float m = mean[i] + a.one_minus_beta1 * (g - mean[i]);
            float v = a.beta2 * square[i] + a.one_minus_beta2 * g * g;
            mean[i] = m, square[i] = v;
            w[i] = a.shrink * w[i] -
                   a.step_size * m / (__builtin_sqrtf(v) / a.root_bias_correction2 + a.eps);
        }
        restore_subnormals(before);
    }
}
