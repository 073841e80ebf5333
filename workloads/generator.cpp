#include "workloads/generator.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <utility>
#include <vector>

// Compiled with -O3 and -ffp-contract=off (workloads/CMakeLists.txt): these loops must vectorise,
// and must not fuse the multiply-add that the device keeps apart.

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
#define FIB_VECTOR_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define FIB_VECTOR_CLONES
#endif

namespace fib {
namespace {

constexpr int kBatch = 512;  // elements; even, because two share a Philox block

// The random words of consecutive elements, and the numbers made of them.
struct Batch {
  alignas(64) std::array<uint32_t, kBatch> low;
  alignas(64) std::array<uint32_t, kBatch> high;
  alignas(64) std::array<float, kBatch> value;

  uint64_t bits(int i) const { return low[i] | static_cast<uint64_t>(high[i]) << 32; }
};

// Words of the elements of `blocks` Philox blocks from block `first` on.
FIB_VECTOR_CLONES void draw_words(const Generated& generated, uint64_t first, int blocks,
                                  Batch& batch) {
  uint32_t* low = batch.low.data();
  uint32_t* high = batch.high.data();
  const uint64_t stream = generated.stream, seed = generated.seed;
#pragma GCC ivdep
  for (int i = 0; i < blocks; ++i) {
    const PhiloxBlock block = philox_4x32_10(first + static_cast<uint64_t>(i), stream, seed);
    low[2 * i] = block.word[0];
    high[2 * i] = block.word[1];
    low[2 * i + 1] = block.word[2];
    high[2 * i + 1] = block.word[3];
  }
}

FIB_VECTOR_CLONES void draw_normals(const ValueRule& rule, int count, Batch& batch) {
  for (int i = 0; i < count; ++i) {
    batch.value[i] = scale_draw(rule, normal_from_words(batch.low[i], batch.high[i]));
  }
}

FIB_VECTOR_CLONES void draw_uniforms(const ValueRule& rule, int count, Batch& batch) {
  for (int i = 0; i < count; ++i) {
    batch.value[i] = scale_draw(rule, uniform_from_bits(batch.low[i]));
  }
}

template <int kFormat, class Word>
inline __attribute__((always_inline)) void narrow(const float* value, int count, std::byte* out) {
  for (int i = 0; i < count; ++i) {
    const auto word = static_cast<Word>(float_storage_bits(value[i], kFormat));
    std::memcpy(out + static_cast<size_t>(i) * sizeof(Word), &word, sizeof(Word));
  }
}

FIB_VECTOR_CLONES void store_numbers(const float* value, int count, int format, std::byte* out) {
  switch (format) {
    case kStoreFloat32: return narrow<kStoreFloat32, uint32_t>(value, count, out);
    case kStoreFloat16: return narrow<kStoreFloat16, uint16_t>(value, count, out);
    case kStoreBFloat16: return narrow<kStoreBFloat16, uint16_t>(value, count, out);
    case kStoreFloat8E4M3: return narrow<kStoreFloat8E4M3, uint8_t>(value, count, out);
    case kStoreFloat8E5M2: return narrow<kStoreFloat8E5M2, uint8_t>(value, count, out);
  }
}

FIB_VECTOR_CLONES void round_to_bfloat16(const float* value, int count, float* out) {
  for (int i = 0; i < count; ++i) {
    const uint32_t bits = bfloat16_bits(bits_of_float(value[i])) << 16;
    std::memcpy(&out[i], &bits, sizeof bits);
  }
}

bool draws_floats(const ValueRule& rule) {
  return rule.kind == kNormalValue || rule.kind == kUniformValue;
}

// Calls body(batch, offset in the batch, count, position in the output) until `count` elements
// from `first` on are done. Batches start at even elements.
template <class Body>
void for_each_batch(const Generated& generated, const ValueRule& rule, int64_t first, int64_t count,
                    const Body& body) {
  Batch batch;
  int64_t done = 0;
  while (done < count) {
    const int64_t at = first + done;
    const int skip = static_cast<int>(at & 1);
    const int taken = static_cast<int>(std::min<int64_t>(count - done, kBatch - skip));
    const int drawn = skip + taken;
    draw_words(generated, static_cast<uint64_t>(at) >> 1, (drawn + 1) / 2, batch);
    if (rule.kind == kNormalValue) draw_normals(rule, drawn, batch);
    if (rule.kind == kUniformValue) draw_uniforms(rule, drawn, batch);
    body(batch, skip, taken, done);
    done += taken;
  }
}

uint64_t stored_bits(const ValueRule& rule, const Batch& batch, int i) {
  return draws_floats(rule) ? float_storage_bits(batch.value[i], rule.format)
                            : value_bits(rule, batch.bits(i));
}

template <class Word>
void store_words(const ValueRule& rule, const Batch& batch, int skip, int count, std::byte* out) {
  for (int i = 0; i < count; ++i) {
    const auto word = static_cast<Word>(stored_bits(rule, batch, skip + i));
    std::memcpy(out + static_cast<size_t>(i) * sizeof(Word), &word, sizeof(Word));
  }
}

// Nibbles, low first, at nibble `position` of `out`, which was zero.
void store_nibbles(const ValueRule& rule, const Batch& batch, int skip, int count, int64_t position,
                   std::byte* out) {
  for (int i = 0; i < count; ++i) {
    const auto nibble = static_cast<std::byte>(stored_bits(rule, batch, skip + i));
    out[(position + i) / 2] |= nibble << (4 * ((position + i) % 2));
  }
}

// Elements skip..skip+count of the batch as elements `position`... of packed storage.
void store_batch(const ValueRule& rule, int bits, const Batch& batch, int skip, int count,
                 int64_t position, std::byte* storage) {
  std::byte* out = storage + position * bits / 8;
  if (bits == 4) {
    store_nibbles(rule, batch, skip, count, position, storage);
  } else if (draws_floats(rule)) {
    store_numbers(&batch.value[skip], count, rule.format, out);
  } else if (rule.kind == kBitsValue && rule.width == 32) {
    std::memcpy(out, &batch.low[skip], static_cast<size_t>(count) * 4);
  } else if (bits == 8) {
    store_words<uint8_t>(rule, batch, skip, count, out);
  } else if (bits == 16) {
    store_words<uint16_t>(rule, batch, skip, count, out);
  } else if (bits == 32) {
    store_words<uint32_t>(rule, batch, skip, count, out);
  } else {
    store_words<uint64_t>(rule, batch, skip, count, out);
  }
}

int64_t signed_value(uint64_t stored, int bits) {
  const int unused = 64 - bits;
  return static_cast<int64_t>(stored << unused) >> unused;
}

class GeneratedSource final : public TensorSource {
 public:
  GeneratedSource(TensorDesc desc, Generated generated)
      : desc_(std::move(desc)),
        generated_(std::move(generated)),
        rule_(value_rule(generated_.distribution, desc_.dtype)) {}

  const TensorDesc& desc() const override { return desc_; }

  void read(int64_t first, std::span<float> out) const override {
    const auto count = static_cast<int64_t>(out.size());
    if (desc_.dtype == DType::kBFloat16 && draws_floats(rule_)) {
      for_each_batch(generated_, rule_, first, count,
                     [&](const Batch& batch, int skip, int taken, int64_t done) {
                       round_to_bfloat16(&batch.value[skip], taken, &out[done]);
                     });
      return;
    }
    for_each_batch(generated_, rule_, first, count,
                   [&](const Batch& batch, int skip, int taken, int64_t done) {
                     alignas(64) std::byte storage[kBatch * 4] = {};
                     store_batch(rule_, bits_of(desc_.dtype), batch, skip, taken, 0, storage);
                     load_floats(desc_.dtype, storage, 0, out.subspan(done, taken));
                   });
  }

  void read(int64_t first, std::span<int64_t> out) const override {
    const int bits = bits_of(desc_.dtype);
    for_each_batch(generated_, rule_, first, static_cast<int64_t>(out.size()),
                   [&](const Batch& batch, int skip, int taken, int64_t done) {
                     for (int i = 0; i < taken; ++i) {
                       out[done + i] = signed_value(stored_bits(rule_, batch, skip + i), bits);
                     }
                   });
  }

  void read_bytes(int64_t first_byte, std::span<std::byte> out) const override {
    const int bits = bits_of(desc_.dtype);
    const auto size = static_cast<int64_t>(out.size());
    const int64_t first = first_byte * 8 / bits;
    const int64_t last =
        std::min(((first_byte + size) * 8 + bits - 1) / bits, desc_.num_elements());
    const int64_t skipped = first_byte - first * bits / 8;  // of an element cut in two
    if (skipped == 0 && storage_bytes(desc_.dtype, last - first) == out.size()) {
      fill_generated(generated_, desc_.dtype, first, last - first, out.data());
      return;
    }
    std::vector<std::byte> whole(storage_bytes(desc_.dtype, last - first));
    fill_generated(generated_, desc_.dtype, first, last - first, whole.data());
    std::copy_n(whole.begin() + skipped, size, out.begin());
  }

  double scalar() const override {
    std::byte storage[8] = {};
    fill_generated(generated_, desc_.dtype, 0, 1, storage);
    return load_element(desc_.dtype, storage, 0);
  }

 private:
  TensorDesc desc_;
  Generated generated_;
  ValueRule rule_;
};

int storage_format(DType dtype) {
  switch (dtype) {
    case DType::kFloat32: return kStoreFloat32;
    case DType::kFloat16: return kStoreFloat16;
    case DType::kBFloat16: return kStoreBFloat16;
    case DType::kFloat8E4M3FN: return kStoreFloat8E4M3;
    case DType::kFloat8E5M2: return kStoreFloat8E5M2;
    case DType::kFloat4E2M1: return kStoreFloat4E2M1;
    default: return kStoreInteger;
  }
}

}  // namespace

Distribution resolve_distribution(const Distribution& distribution, DType dtype) {
  if (distribution.kind != Distribution::Kind::kDefault) return distribution;
  if (is_floating(dtype)) return {Distribution::Kind::kNormal, 0.0, 1.0};
  if (dtype == DType::kBool) return {Distribution::Kind::kUniformInt, 0.0, 1.0};
  if (dtype == DType::kInt8) return {Distribution::Kind::kUniformInt, -128.0, 127.0};
  return {Distribution::Kind::kUniformInt, -1024.0, 1024.0};
}

ValueRule value_rule(const Distribution& distribution, DType dtype) {
  constexpr float kUnbounded = std::numeric_limits<float>::infinity();
  ValueRule rule = {};
  rule.format = storage_format(dtype);
  rule.width = dtype == DType::kBool ? 1 : bits_of(dtype);
  rule.lowest = -kUnbounded;
  rule.highest = kUnbounded;
  const double a = distribution.a, b = distribution.b;
  switch (distribution.kind) {
    case Distribution::Kind::kDefault:
      throw std::logic_error("value_rule: resolve_distribution has not been applied");
    case Distribution::Kind::kNormal:
      rule.kind = kNormalValue;
      rule.scale = static_cast<float>(b);
      rule.offset = static_cast<float>(a);
      if (bits_of(dtype) <= 8) {
        rule.lowest = static_cast<float>(a - 2 * b);
        rule.highest = static_cast<float>(a + 2 * b);
      }
      break;
    case Distribution::Kind::kUniform:
      rule.kind = kUniformValue;
      rule.scale = static_cast<float>(b - a);
      rule.offset = static_cast<float>(a);
      break;
    case Distribution::Kind::kUniformInt:
      rule.kind = kIntegerValue;
      rule.first = static_cast<long long>(a);
      rule.count = static_cast<uint64_t>(static_cast<long long>(b) - rule.first) + 1;
      break;
    case Distribution::Kind::kBits: rule.kind = kBitsValue; break;
  }
  if (draws_floats(rule) && !is_floating(dtype)) {
    throw std::logic_error("value_rule: a normal or uniform distribution needs a floating dtype");
  }
  return rule;
}

uint64_t generated_bits(const Generated& generated, DType dtype, int64_t index) {
  return value_bits(
      value_rule(generated.distribution, dtype),
      philox_element_bits(static_cast<uint64_t>(index), generated.stream, generated.seed));
}

void fill_generated(const Generated& generated, DType dtype, int64_t first, int64_t count,
                    std::byte* out) {
  const ValueRule rule = value_rule(generated.distribution, dtype);
  const int bits = bits_of(dtype);
  if (bits == 4) std::fill_n(out, storage_bytes(dtype, count), std::byte{0});
  for_each_batch(generated, rule, first, count,
                 [&](const Batch& batch, int skip, int taken, int64_t done) {
                   store_batch(rule, bits, batch, skip, taken, done, out);
                 });
}

std::unique_ptr<TensorSource> generated_source(TensorDesc desc, Generated generated) {
  return std::make_unique<GeneratedSource>(std::move(desc), std::move(generated));
}

}  // namespace fib
