#pragma once

// Results of references run to hundreds of megabytes. A FloatBuffer starts out as zeros that cost
// nothing until they are touched, on the thread that touches them, in huge pages where there are.

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <new>
#include <utility>
#include <vector>

namespace fib {

template <class T>
struct ZeroPageAllocator {
  using value_type = T;
  static constexpr size_t kMapFromBytes = size_t{4} << 20;

  ZeroPageAllocator() = default;
  template <class U>
  ZeroPageAllocator(const ZeroPageAllocator<U>&) {}

  T* allocate(size_t count) {
    const size_t bytes = count * sizeof(T);
    void* memory = nullptr;
    if (bytes < kMapFromBytes) {
      memory = std::calloc(count, sizeof(T));
    } else {
      memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (memory == MAP_FAILED) memory = nullptr;
      if (memory != nullptr) ::madvise(memory, bytes, MADV_HUGEPAGE);  // a wish, not a need
    }
    if (memory == nullptr) throw std::bad_alloc();
    return static_cast<T*>(memory);
  }
  void deallocate(T* memory, size_t count) {
    if (count * sizeof(T) < kMapFromBytes) {
      std::free(memory);
    } else {
      ::munmap(memory, count * sizeof(T));
    }
  }
  // Elements made without a value keep the zero they lie on.
  template <class U>
  void construct(U* element) {
    ::new (static_cast<void*>(element)) U;
  }
  template <class U, class... Arguments>
  void construct(U* element, Arguments&&... arguments) {
    ::new (static_cast<void*>(element)) U(std::forward<Arguments>(arguments)...);
  }
  template <class U>
  bool operator==(const ZeroPageAllocator<U>&) const {
    return true;
  }
};

using FloatBuffer = std::vector<float, ZeroPageAllocator<float>>;

}  // namespace fib
