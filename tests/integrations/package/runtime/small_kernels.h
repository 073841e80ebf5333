#pragma once

// Kernels of the hand-written package as PTX for compute capability 9.0, which drivers take in
// place of a device binary. All add a bias of 1.

namespace fib::package {

inline constexpr char kSmallKernels[] = R"(
.version 8.0
.target sm_90a
.address_size 64

// (x, weight, y, rows, factor); a block a row
.visible .entry plain_4(.param .u64 x, .param .u64 weight, .param .u64 y, .param .u32 rows,
                        .param .f32 factor)
{
  .reg .b32 %r<4>;
  .reg .b64 %rd<8>;
  .reg .f32 %f<6>;
  .reg .pred %p<3>;
  griddepcontrol.wait;
  mov.u32 %r0, %ctaid.x;
  mov.u32 %r1, %tid.x;
  ld.param.u32 %r2, [rows];
  setp.ge.u32 %p0, %r0, %r2;
  @%p0 ret;
  setp.ge.u32 %p1, %r1, 4;
  @%p1 ret;
  mad.lo.u32 %r3, %r0, 4, %r1;
  mul.wide.u32 %rd0, %r3, 4;
  mul.wide.u32 %rd1, %r1, 4;
  ld.param.u64 %rd2, [x];
  ld.param.u64 %rd3, [weight];
  ld.param.u64 %rd4, [y];
  add.u64 %rd2, %rd2, %rd0;
  add.u64 %rd3, %rd3, %rd1;
  add.u64 %rd4, %rd4, %rd0;
  ld.global.f32 %f0, [%rd2];
  ld.global.f32 %f1, [%rd3];
  ld.param.f32 %f2, [factor];
  mul.f32 %f3, %f0, %f1;
  fma.rn.f32 %f4, %f3, %f2, 0f3F800000;
  st.global.f32 [%rd4], %f4;
  ret;
}

// (x + 16 bytes, weight, y, workspace, factor, rows); the product takes its way through workspace
.visible .entry fast_4(.param .u64 x, .param .u64 weight, .param .u64 y, .param .u64 workspace,
                       .param .f32 factor, .param .u32 rows)
{
  .reg .b32 %r<4>;
  .reg .b64 %rd<8>;
  .reg .f32 %f<6>;
  .reg .pred %p<3>;
  mov.u32 %r0, %ctaid.x;
  mov.u32 %r1, %tid.x;
  ld.param.u32 %r2, [rows];
  setp.ge.u32 %p0, %r0, %r2;
  @%p0 ret;
  setp.ge.u32 %p1, %r1, 4;
  @%p1 ret;
  mad.lo.u32 %r3, %r0, 4, %r1;
  mul.wide.u32 %rd0, %r3, 4;
  mul.wide.u32 %rd1, %r1, 4;
  ld.param.u64 %rd2, [x];
  ld.param.u64 %rd3, [weight];
  ld.param.u64 %rd4, [y];
  ld.param.u64 %rd5, [workspace];
  add.u64 %rd2, %rd2, %rd0;
  add.u64 %rd3, %rd3, %rd1;
  add.u64 %rd4, %rd4, %rd0;
  add.u64 %rd5, %rd5, %rd0;
  ld.global.f32 %f0, [%rd2 + -16];
  ld.global.f32 %f1, [%rd3];
  ld.param.f32 %f2, [factor];
  mul.f32 %f3, %f0, %f1;
  st.volatile.global.f32 [%rd5], %f3;
  ld.volatile.global.f32 %f4, [%rd5];
  fma.rn.f32 %f5, %f4, %f2, 0f3F800000;
  st.global.f32 [%rd4], %f5;
  ret;
}

// (weight, prepared): the weight, 32 bytes into prepared memory
.visible .entry lay_out_0(.param .u64 weight, .param .u64 prepared)
{
  .reg .b64 %rd<2>;
  .reg .f32 %f<4>;
  ld.param.u64 %rd0, [weight];
  ld.param.u64 %rd1, [prepared];
  ld.global.v4.f32 {%f0, %f1, %f2, %f3}, [%rd0];
  st.global.v4.f32 [%rd1 + 32], {%f0, %f1, %f2, %f3};
  ret;
}

// (tensor map of x, prepared + 32 bytes, y, factor); a block of one thread a row, which fetches its
// row by the tensor map
.visible .entry packed_4(.param .align 64 .b8 map[128], .param .u64 weight, .param .u64 y,
                         .param .f32 factor)
{
  .shared .align 128 .b8 row[16];
  .shared .align 8 .b64 arrived;
  .reg .b32 %r<6>;
  .reg .b64 %rd<6>;
  .reg .f32 %f<13>;
  .reg .pred %p<2>;
  mov.u32 %r0, %ctaid.x;
  mov.u32 %r1, 0;
  mov.u32 %r2, row;
  mov.u32 %r3, arrived;
  mov.b64 %rd0, map;
  cvta.param.u64 %rd1, %rd0;
  mbarrier.init.shared::cta.b64 [%r3], 1;
  fence.proxy.async.shared::cta;
  mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r3], 16;
  cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes
      [%r2], [%rd1, {%r1, %r0}], [%r3];
wait:
  mbarrier.try_wait.parity.shared::cta.b64 %p0, [%r3], 0;
  @!%p0 bra wait;
  ld.param.u64 %rd2, [weight];
  ld.param.u64 %rd3, [y];
  ld.param.f32 %f12, [factor];
  mul.wide.u32 %rd4, %r0, 16;
  add.u64 %rd3, %rd3, %rd4;
  ld.shared.v4.f32 {%f0, %f1, %f2, %f3}, [%r2];
  ld.global.v4.f32 {%f4, %f5, %f6, %f7}, [%rd2];
  mul.f32 %f0, %f0, %f4;
  mul.f32 %f1, %f1, %f5;
  mul.f32 %f2, %f2, %f6;
  mul.f32 %f3, %f3, %f7;
  fma.rn.f32 %f8, %f0, %f12, 0f3F800000;
  fma.rn.f32 %f9, %f1, %f12, 0f3F800000;
  fma.rn.f32 %f10, %f2, %f12, 0f3F800000;
  fma.rn.f32 %f11, %f3, %f12, 0f3F800000;
  st.global.v4.f32 [%rd3], {%f8, %f9, %f10, %f11};
  ret;
}
)";

}  // namespace fib::package
