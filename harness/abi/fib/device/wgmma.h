#pragma once

// Warpgroup tensor core instructions of sm_90a (PTX ISA, wgmma.mma_async): D[64 x N] += A[64 x 16]
// * B[16 x N], fp16 or bf16 in, float32 sums; A and B lie in shared memory as rows along K of 64
// values (128 bytes), swizzled by the copy engine (CU_TENSOR_MAP_SWIZZLE_128B), tiles at multiples
// of 1024 bytes. Four warps in step; warp w of them has rows 16 w .. 16 w + 15, in fragments as in
// mma.h: d[4 j + i] is row g + 8 (i / 2), column 8 j + 2 c + i % 2. A may be in registers instead,
// each warp's rows in a fragment as in mma.h.

#include <fib/device/convert.h>

namespace fib {

// Where piece `piece` (of 16 bytes, 8 of them) of row `row` lies in a swizzled tile, for threads
// that fill one without the copy engine. They call publish_to_wgmma once what they wrote is there.
constexpr int swizzled_piece(int row, int piece) { return row * 128 + ((piece ^ row % 8) * 16); }

// Orders what ordinary stores and copies put into shared memory before what wgmma reads.
__device__ __forceinline__ void publish_to_wgmma() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// A warpgroup hands registers back, or asks for more and waits until others have: all its threads
// have kCount then, a multiple of 8. The kernel's launch bounds say what each starts with.
template <int kCount>
__device__ __forceinline__ void give_registers_back() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCount));
}
template <int kCount>
__device__ __forceinline__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kCount));
}

// Describes a tile at `shared`; step k of 16 values along a row is 2 * k higher.
__device__ __forceinline__ u64 wgmma_tile(u32 shared) {
  const u64 kSwizzle128 = 1ull << 62, kRowsOf8 = static_cast<u64>(1024 >> 4) << 32;
  return kSwizzle128 | kRowsOf8 | 1ull << 16 | (shared & 0x3FFFF) >> 4;
}

__device__ __forceinline__ void wgmma_fence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int kYounger>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kYounger) : "memory");
}

// Keeps the compiler from reading sums ahead of the wait for them.
template <int kSize>
__device__ __forceinline__ void wgmma_pin(float (&d)[kSize]) {
#pragma unroll
  for (int i = 0; i < kSize; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

// The same for registers of A, before wgmma_fence: what fills them must not slip behind it.
__device__ __forceinline__ void wgmma_pin(u32 (&a)[4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) asm volatile("" : "+r"(a[i])::"memory");
}

// One instruction, Wgmma<N>::fp16 or ::bf16; with `is_adding` false D is overwritten. Registers of
// A, as those of D, stay untouched until the instruction was waited for; write them before
// wgmma_fence.
template <int kColumns>
struct Wgmma;

// The instruction's text and operands, for the widths below; undefined again at the end.
#define FIB_WGMMA_D4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define FIB_WGMMA_D8(i) FIB_WGMMA_D4(i), FIB_WGMMA_D4(i + 4)
#define FIB_WGMMA_D12(i) FIB_WGMMA_D8(i), FIB_WGMMA_D4(i + 8)
#define FIB_WGMMA_D16(i) FIB_WGMMA_D8(i), FIB_WGMMA_D8(i + 8)
#define FIB_WGMMA_D24(i) FIB_WGMMA_D16(i), FIB_WGMMA_D8(i + 16)
#define FIB_WGMMA_D32(i) FIB_WGMMA_D16(i), FIB_WGMMA_D16(i + 16)
#define FIB_WGMMA_D48(i) FIB_WGMMA_D32(i), FIB_WGMMA_D16(i + 32)
#define FIB_WGMMA_D64(i) FIB_WGMMA_D32(i), FIB_WGMMA_D32(i + 32)
#define FIB_WGMMA_D128(i) FIB_WGMMA_D64(i), FIB_WGMMA_D64(i + 64)
#define FIB_WGMMA_R4 "%0, %1, %2, %3"
#define FIB_WGMMA_R8 FIB_WGMMA_R4 ", %4, %5, %6, %7"
#define FIB_WGMMA_R12 FIB_WGMMA_R8 ", %8, %9, %10, %11"
#define FIB_WGMMA_R16 FIB_WGMMA_R12 ", %12, %13, %14, %15"
#define FIB_WGMMA_R24 FIB_WGMMA_R16 ", %16, %17, %18, %19, %20, %21, %22, %23"
#define FIB_WGMMA_R32 FIB_WGMMA_R24 ", %24, %25, %26, %27, %28, %29, %30, %31"
#define FIB_WGMMA_R48                                                   \
  FIB_WGMMA_R32                                                         \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, " \
  "%45, %46, %47"
#define FIB_WGMMA_R64                                                   \
  FIB_WGMMA_R48                                                         \
  ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, " \
  "%61, %62, %63"
#define FIB_WGMMA_R128                                                   \
  FIB_WGMMA_R64                                                          \
  ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, "  \
  "%77, %78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, "    \
  "%90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, %101, %102, " \
  "%103, %104, %105, %106, %107, %108, %109, %110, %111, %112, %113, "   \
  "%114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, "   \
  "%125, %126, %127"
#define FIB_WGMMA(n, count, type, a_at, b_at, adds_at, transposed, ...)                       \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " adds_at                                    \
               ", 0;\n"                                                                       \
               "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." #type "." #type              \
               " {" FIB_WGMMA_R##count "}, " a_at ", " b_at ", p, 1, 1, " transposed ";\n}\n" \
               : FIB_WGMMA_D##count(0)                                                        \
               : __VA_ARGS__, "l"(b), "r"(static_cast<int>(is_adding)))
// r0 .. r5 name the operands after D's.
#define FIB_WGMMA_WIDTH(n, count, r0, r1, r2, r3, r4, r5)                                          \
  template <>                                                                                      \
  struct Wgmma<n> {                                                                                \
    __device__ static __forceinline__ void fp16(float (&d)[count], u64 a, u64 b, bool is_adding) { \
      FIB_WGMMA(n, count, f16, r0, r1, r2, "0, 0", "l"(a));                                        \
    }                                                                                              \
    __device__ static __forceinline__ void bf16(float (&d)[count], u64 a, u64 b, bool is_adding) { \
      FIB_WGMMA(n, count, bf16, r0, r1, r2, "0, 0", "l"(a));                                       \
    }                                                                                              \
    __device__ static __forceinline__ void bf16(float (&d)[count], const u32 (&a)[4], u64 b,       \
                                                bool is_adding) {                                  \
      FIB_WGMMA(n, count, bf16, "{" r0 ", " r1 ", " r2 ", " r3 "}", r4, r5, "0", "r"(a[0]),        \
                "r"(a[1]), "r"(a[2]), "r"(a[3]));                                                  \
    }                                                                                              \
  }
FIB_WGMMA_WIDTH(8, 4, "%4", "%5", "%6", "%7", "%8", "%9");
FIB_WGMMA_WIDTH(16, 8, "%8", "%9", "%10", "%11", "%12", "%13");
FIB_WGMMA_WIDTH(24, 12, "%12", "%13", "%14", "%15", "%16", "%17");
FIB_WGMMA_WIDTH(32, 16, "%16", "%17", "%18", "%19", "%20", "%21");
FIB_WGMMA_WIDTH(48, 24, "%24", "%25", "%26", "%27", "%28", "%29");
FIB_WGMMA_WIDTH(64, 32, "%32", "%33", "%34", "%35", "%36", "%37");
FIB_WGMMA_WIDTH(96, 48, "%48", "%49", "%50", "%51", "%52", "%53");
FIB_WGMMA_WIDTH(128, 64, "%64", "%65", "%66", "%67", "%68", "%69");
FIB_WGMMA_WIDTH(256, 128, "%128", "%129", "%130", "%131", "%132", "%133");
#undef FIB_WGMMA_WIDTH
#undef FIB_WGMMA
#undef FIB_WGMMA_R4
#undef FIB_WGMMA_R8
#undef FIB_WGMMA_R12
#undef FIB_WGMMA_R16
#undef FIB_WGMMA_R24
#undef FIB_WGMMA_R32
#undef FIB_WGMMA_R48
#undef FIB_WGMMA_R64
#undef FIB_WGMMA_R128
#undef FIB_WGMMA_D4
#undef FIB_WGMMA_D8
#undef FIB_WGMMA_D12
#undef FIB_WGMMA_D16
#undef FIB_WGMMA_D24
#undef FIB_WGMMA_D32
#undef FIB_WGMMA_D48
#undef FIB_WGMMA_D64
#undef FIB_WGMMA_D128

}  // namespace fib
