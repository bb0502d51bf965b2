/* Vector types and operations shared by all kernels.
 *
 * The C files of this folder form one translation unit, concatenated in the order of
 * fashioncnn.kernels.build.SOURCES. Tensors are float32 in NHWC order (PyTorch's channels_last);
 * batch normalization and pooling also read and write bfloat16. A vector holds LANES consecutive
 * channels.
 *
 * Work is divided among threads in fixed ranges and partial sums are added in thread order, so the
 * same input and the same number of threads give the same bytes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#ifndef LANES /* floats per vector register */
#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif
#endif

#define INLINE static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));
typedef uint32_t uvec __attribute__((vector_size(4 * LANES)));
typedef uint16_t halfvec __attribute__((vector_size(2 * LANES), aligned(2), may_alias));
typedef uint8_t bytevec __attribute__((vector_size(LANES), aligned(1), may_alias));
typedef uint8_t register_bytes __attribute__((vector_size(4 * LANES)));

INLINE vec load(const float *p) { return *(const vec *)p; }
INLINE void store(float *p, vec v) { *(vec *)p = v; }
INLINE vec broadcast(float x) { return x - (vec){0}; }
INLINE vec blend(ivec mask, vec a, vec b) {
    return (vec)((mask & (ivec)a) | (~mask & (ivec)b));
}

/* The lowest byte of each lane. (GCC 12 converts slowly but shuffles well.) */
INLINE bytevec narrow(ivec v) {
#if !defined(__clang__) && __GNUC__ < 12
    return __builtin_convertvector(v, bytevec);
#else
    register_bytes q = (register_bytes)v;
#if LANES == 16
    return __builtin_shufflevector(q, q, 0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56,
                                   60);
#elif LANES == 8
    return __builtin_shufflevector(q, q, 0, 4, 8, 12, 16, 20, 24, 28);
#else
    return __builtin_shufflevector(q, q, 0, 4, 8, 12);
#endif
#endif
}

/* LANES bytes, zero-extended to 32 bits. (GCC 12 converts slowly.) */
INLINE ivec widen(const uint8_t *p) {
#if LANES == 16 && defined(__AVX512F__)
    return (ivec)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
#elif LANES == 8 && defined(__AVX2__)
    return (ivec)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
#else
    return __builtin_convertvector(*(const bytevec *)p, ivec);
#endif
}

/* LANES values from index i, in bfloat16 or float32. `bf16` is a compile-time constant. */
INLINE vec load_values(const void *values, long i, const int bf16) {
    if (!bf16) return load((const float *)values + i);
    const uint16_t *p = (const uint16_t *)values + i;
#if LANES == 16 && defined(__AVX512F__)
    uvec wide = (uvec)_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
#elif LANES == 8 && defined(__AVX2__)
    uvec wide = (uvec)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
#else
    uvec wide = __builtin_convertvector(*(const halfvec *)p, uvec);
#endif
    return (vec)(wide << 16);
}

/* Round to bfloat16, to nearest with ties to even; the result is in the upper half of each lane. */
INLINE uvec round_to_bf16(vec v) {
    uvec bits = (uvec)v, odd = (bits >> 16) & 1;
    uvec nan = (uvec)(v != v);
    return (nan & 0x7fc00000) | (~nan & (bits + 0x7fff + odd));
}

INLINE void store_values(void *values, long i, vec v, const int bf16) {
    if (!bf16) {
        store((float *)values + i, v);
        return;
    }
    uint16_t *p = (uint16_t *)values + i;
#if LANES == 16 && defined(__AVX512BF16__)
    _mm256_storeu_si256((__m256i *)p, (__m256i)_mm512_cvtneps_pbh((__m512)v));
#elif LANES == 16 && defined(__AVX512F__)
    __m512i high = _mm512_srli_epi32((__m512i)round_to_bf16(v), 16);
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi32_epi16(high));
#elif LANES == 8 && defined(__AVX2__)
    __m256i high = _mm256_srli_epi32((__m256i)round_to_bf16(v), 16);
    high = _mm256_permute4x64_epi64(_mm256_packus_epi32(high, high), 0x08);
    _mm_storeu_si128((__m128i *)p, _mm256_castsi256_si128(high));
#else
    *(halfvec *)p = __builtin_convertvector(round_to_bf16(v) >> 16, halfvec);
#endif
}

#define ZEROED_BY_RELU 4 /* stored instead of an index where ReLU passes no gradient */

/* ReLU(max(window) + bias) of a 2×2 window. `argmax`, unless null, receives the index of the
 * maximum (0 to 3, the first of equal values), or ZEROED_BY_RELU. */
INLINE vec max_pool_relu(const vec window[4], vec bias, uint8_t *argmax) {
    vec best = window[0];
    ivec index = {0};
    for (int k = 1; k < 4; k++) {
        ivec larger = (window[k] > best) | (window[k] != window[k]); /* NaN wins, as in PyTorch */
        best = blend(larger, window[k], best);
        index = (larger & k) | (~larger & index);
    }
    best += bias;
    ivec zeroed = best <= 0;
    if (argmax) {
        index = (zeroed & ZEROED_BY_RELU) | (~zeroed & index);
        *(bytevec *)argmax = narrow(index);
    }
    return blend(zeroed, (vec){0}, best);
}

/* The gradients of a 2×2 window: the pooled gradient g at the maximum, zero elsewhere. */
INLINE void max_pool_relu_backward(vec g, const uint8_t *argmax, vec window[4]) {
    ivec index = widen(argmax);
    for (int k = 0; k < 4; k++) window[k] = (vec)((index == k) & (ivec)g);
}

/* The range of n items that a thread processes: first ≤ i < last. */
INLINE void partition_range(long n, int thread, int threads, long *first, long *last) {
    *first = n * thread / threads;
    *last = n * (thread + 1) / threads;
}

static void *allocate(long floats) {
    return aligned_alloc(64, (sizeof(float) * floats + 63) / 64 * 64);
}

int get_vector_width(void) { return LANES; }

/* Whether the compiler has OpenMP, without which everything runs on one thread. With it, limits of
 * the user (OMP_THREAD_LIMIT, OMP_DYNAMIC) can have the same effect; results do not depend on it. */
int has_openmp(void) {
#ifdef _OPENMP
    return 1;
#else
    return 0;
#endif
}
