#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <thread>
#include <vector>

#include "runners/cpu/arena.h"
#include "runners/cpu/futex.h"
#include "runners/cpu/host_cpu.h"

namespace fib {
namespace {

constexpr size_t kBytesPerThread = 32 << 20;
constexpr int64_t kRounds = 400'000;
constexpr int kRepetitions = 5;
constexpr int kChains = 12;  // covers the latency of an FMA on two ports

typedef float Floats __attribute__((vector_size(64)));

// Independent chains of x = x * a + b. The operations done.
[[gnu::always_inline]] inline double multiply_add(float* sink) {
  Floats chains[kChains];
  for (int i = 0; i < kChains; ++i) chains[i] = Floats{} + static_cast<float>(i);
  const Floats a = Floats{} + 0.999f, b = Floats{} + 0.001f;
  for (int64_t round = 0; round < kRounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) chains[i] = chains[i] * a + b;
  }
  for (int i = 1; i < kChains; ++i) chains[0] += chains[i];
  *sink = chains[0][0];
  return 2.0 * kRounds * kChains * (sizeof(Floats) / sizeof(float));
}

// The binary is built for any machine of the architecture; candidates are built for this one. What
// they may reach is measured with the widest instructions that this one has.
#if defined(__x86_64__)
__attribute__((target("avx512f"))) double multiply_add_avx512(float* sink) {
  return multiply_add(sink);
}
__attribute__((target("avx2,fma"))) double multiply_add_avx2(float* sink) {
  return multiply_add(sink);
}
#endif
double multiply_add_plain(float* sink) { return multiply_add(sink); }

using Probe = double (*)(float*);
Probe widest_probe() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return multiply_add_avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return multiply_add_avx2;
#endif
  return multiply_add_plain;
}

// Runs body(thread) on all threads, started together. Seconds.
template <class Body>
double time_together(int threads, const Body& body) {
  std::atomic<int> waiting{0};
  std::atomic<uint32_t> started{0};
  std::vector<std::thread> others;
  const auto run = [&](int thread) {
    waiting.fetch_add(1);
    while (!spin_for(started, 1, 1'000'000)) {
    }
    body(thread);
  };
  for (int i = 1; i < threads; ++i) others.emplace_back(run, i);
  while (waiting.load() < threads - 1) std::this_thread::yield();
  const int64_t begin = monotonic_ns();
  started.store(1);
  body(0);
  for (std::thread& thread : others) thread.join();
  return static_cast<double>(monotonic_ns() - begin) * 1e-9;
}

uint64_t sum_words(const uint64_t* words, size_t count) {
  uint64_t sums[8] = {};
  for (size_t i = 0; i < count; i += 8) {
    for (size_t j = 0; j < 8; ++j) sums[j] += words[i + j];
  }
  uint64_t sum = 0;
  for (const uint64_t part : sums) sum += part;
  return sum;
}

}  // namespace

HostCeilings measure_host_ceilings(int threads) {
  const auto count = static_cast<size_t>(threads);
  HostCeilings ceilings;
  const size_t words = kBytesPerThread / sizeof(uint64_t);
  std::vector<std::vector<uint64_t>> regions(count, std::vector<uint64_t>(words, 1));
  std::vector<uint64_t> sums(count);
  for (int repetition = 0; repetition < kRepetitions; ++repetition) {
    for (const auto& region : regions) evict_from_caches(std::as_bytes(std::span(region)));
    const double seconds = time_together(threads, [&](int thread) {
      const auto index = static_cast<size_t>(thread);
      sums[index] = sum_words(regions[index].data(), words);
    });
    const double bytes = static_cast<double>(count * kBytesPerThread);
    ceilings.bandwidth_gbps = std::max(ceilings.bandwidth_gbps, bytes / seconds * 1e-9);
  }
  const Probe probe = widest_probe();
  std::vector<float> sinks(count * 16);  // a cache line each
  for (int repetition = 0; repetition < kRepetitions; ++repetition) {
    double operations = 0.0;
    const double seconds = time_together(threads, [&](int thread) {
      const double done = probe(&sinks[static_cast<size_t>(thread) * 16]);
      if (thread == 0) operations = done * threads;
    });
    ceilings.fp32_tflops = std::max(ceilings.fp32_tflops, operations / seconds * 1e-12);
  }
  return ceilings;
}

}  // namespace fib
