#pragma once

// Dependent launch (PTX ISA, griddepcontrol; sm_90). A launch that the plan marks .programmatic()
// may begin while the kernel before it still runs.

namespace fib {

// What earlier kernels of the stream wrote is read after this, and what they may still read is
// written after it; through pointers that are not __restrict__, as the compiler might otherwise
// read ahead of the wait. Weights may be read before. Every kernel launched so waits somewhere in
// each block: the next one relies on this one's end for the end of all before.
__device__ __forceinline__ void wait_for_previous_kernel() {
  asm volatile("griddepcontrol.wait;" ::: "memory");
}
// The next launch may begin once all blocks have said so or ended. At a kernel's start it lets the
// next one set itself up meanwhile; nothing that it waits for is promised earlier.
__device__ __forceinline__ void let_next_kernel_start() {
  asm volatile("griddepcontrol.launch_dependents;");
}

}  // namespace fib
