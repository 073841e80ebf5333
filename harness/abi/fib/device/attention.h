#pragma once

// What attention kernels share: the rows of a request's keys, and the arithmetic of an online
// softmax. The kernels themselves: attention_prefill.h, attention_decode.h. A row is one token's
// keys or values of all KV heads, [kv heads, head dim]; rows are counted from the tensor's start.

#include <fib/device/convert.h>

namespace fib {

// Keys in pages of kPage tokens, [pages, kPage, kv heads, head dim], listed in kv_indices
// [num_kv_indices] int32, a request's pages side by side.
template <int kPage>
struct PagedRows {
  const int* kv_indices;

  // Of a token of the request whose pages are listed from first_page on.
  __device__ __forceinline__ int at(int first_page, int token) const {
    return __ldg(kv_indices + first_page + token / kPage) * kPage + token % kPage;
  }
  // Of a position: index into kv_indices, times the page size, plus the place in the page.
  __device__ __forceinline__ int at(u32 position) const {
    return __ldg(kv_indices + position / kPage) * kPage + position % kPage;
  }
};

// Keys end to end, [total_kv, kv heads, head dim].
struct RaggedRows {
  // Of a token of the request that begins in row `first`.
  __device__ __forceinline__ int at(int first, int token) const { return first + token; }
};

// How many keys requests have, where only the device knows: kv_indptr [batch + 1] int32 counts
// pages, and kv_last_page_len [batch] int32 is read unless pages hold one token.
template <int kPage>
struct PagedLengths {
  const int* kv_indptr;
  const int* kv_last_page_len;

  __device__ __forceinline__ int tokens(int request) const {
    const int pages = __ldg(kv_indptr + request + 1) - __ldg(kv_indptr + request);
    if (kPage == 1 || pages == 0) return pages;
    return (pages - 1) * kPage + __ldg(kv_last_page_len + request);
  }
  // Position of the request's first token, as in PagedRows.
  __device__ __forceinline__ u32 begin(int request) const {
    return static_cast<u32>(__ldg(kv_indptr + request)) * kPage;
  }
  // At least the tokens of all requests together; 64 bits, as there may be more than 2^31.
  __device__ __forceinline__ long long capacity(int batch) const {
    return static_cast<long long>(__ldg(kv_indptr + batch)) * kPage;
  }
};

__device__ __forceinline__ float minus_infinity() { return __int_as_float(0xFF800000); }

// 2^x to about two units in the last place; 0 of minus infinity.
__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace fib
