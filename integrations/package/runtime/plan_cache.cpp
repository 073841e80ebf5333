#include "integrations/package/runtime/plan_cache.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace fib::package {
namespace {

// Odd 64-bit constants without structure (digits of pi), so that sums of products are spread well.
constexpr std::array<uint64_t, 8> kFactors = {
    0x243f6a8885a308d3, 0x13198a2e03707345, 0xa4093822299f31d1, 0x082efa98ec4e6c89,
    0x452821e638d01377, 0xbe5466cf34e90c6d, 0xc0ac29b7c97c50dd, 0x3f84d5b5b5470917};

// Adds words in any number; products don't wait for one another.
class Mixer {
 public:
  void add(uint64_t word) {
    sum_ += (word ^ (word >> 32)) * kFactors[next_ % kFactors.size()] + (next_ << 7);
    ++next_;
  }
  // A few words of it, wherever they are: what is equal is compared byte by byte anyway.
  void sample(const void* data, size_t bytes) {
    constexpr size_t kSamples = 6;
    const auto* first = static_cast<const std::byte*>(data);
    const auto word_at = [&](size_t offset, size_t size) {
      uint64_t word = 0;
      std::memcpy(&word, first + offset, size);
      return word;
    };
    add(bytes);
    if (bytes < sizeof(uint64_t)) return add(word_at(0, bytes));
    const size_t last = bytes - sizeof(uint64_t);
    for (size_t i = 0; i < kSamples; ++i) {
      add(word_at(last * i / (kSamples - 1), sizeof(uint64_t)));
    }
  }
  uint64_t finish() const {
    const uint64_t mixed = (sum_ ^ (sum_ >> 29)) * kFactors[0];
    return (mixed ^ (mixed >> 32)) | 1;  // 0 is an empty place
  }

 private:
  uint64_t sum_ = 0;
  uint64_t next_ = 0;
};

template <class T>
void append(std::vector<std::byte>& bytes, const T& value) {
  const auto* first = reinterpret_cast<const std::byte*>(&value);
  bytes.insert(bytes.end(), first, first + sizeof value);
}

}  // namespace

CallKey::CallKey(const OpShape& shape, const Target& target) : num_axes_(shape.num_varying()) {
  if (!target.plans_by_value()) return;
  constants_.assign(shape.constants().begin(), shape.constants().end());
  for (size_t i = 0; i < shape.inputs().size(); ++i) {
    const OpShape::Tensor& tensor = shape.inputs()[i];
    const auto input = static_cast<uint32_t>(i);
    if (tensor.is_host_scalar) scalars_.push_back(input);
    if (tensor.info->is_host_visible == 0) continue;
    host_inputs_.push_back({.input = input,
                            .bits = tensor.info->dtype.bits,
                            .ndim = static_cast<uint32_t>(tensor.ndim),
                            .slot = tensor.slot});
  }
}

size_t CallKey::bytes_of(const HostInput& input, const int64_t* axes) const {
  size_t elements = 1;
  for (uint32_t d = 0; d < input.ndim; ++d) {
    const uint8_t slot = input.slot[d];
    elements *= static_cast<size_t>(slot < num_axes_ ? axes[slot] : constants_[slot - num_axes_]);
  }
  return (elements * input.bits + 7) / 8;
}

uint64_t CallKey::flags(const fib_kernels_raw_call& call) const {
  uint64_t flags = call.prepared == nullptr ? 0 : 1;
  for (size_t i = 0; i < host_inputs_.size(); ++i) {
    if (host_copy(host_inputs_[i], call) != nullptr) flags |= uint64_t{2} << i;
  }
  return flags;
}

uint64_t CallKey::hash(const fib_kernels_raw_call& call) const {
  Mixer mixer;
  for (size_t i = 0; i < num_axes_; ++i) mixer.add(static_cast<uint64_t>(call.axes[i]));
  for (const uint32_t input : scalars_) mixer.add(std::bit_cast<uint64_t>(call.scalars[input]));
  mixer.add(flags(call));
  for (const HostInput& input : host_inputs_) {
    const void* const copy = host_copy(input, call);
    if (copy != nullptr) mixer.sample(copy, bytes_of(input, call.axes));
  }
  return mixer.finish();
}

std::vector<std::byte> CallKey::bytes(const fib_kernels_raw_call& call) const {
  std::vector<std::byte> bytes;
  for (size_t i = 0; i < num_axes_; ++i) append(bytes, call.axes[i]);
  for (const uint32_t input : scalars_) append(bytes, call.scalars[input]);
  append(bytes, flags(call));
  for (const HostInput& input : host_inputs_) {
    const auto* copy = static_cast<const std::byte*>(host_copy(input, call));
    if (copy != nullptr) bytes.insert(bytes.end(), copy, copy + bytes_of(input, call.axes));
  }
  return bytes;
}

bool CallKey::equals(const std::vector<std::byte>& bytes, const fib_kernels_raw_call& call) const {
  const std::byte* at = bytes.data();
  // Sizes agree as long as what came before does: axes come first.
  const auto takes = [&at](const void* data, size_t size) {
    const bool is_same = std::memcmp(at, data, size) == 0;
    at += size;
    return is_same;
  };
  for (size_t i = 0; i < num_axes_; ++i) {
    if (!takes(&call.axes[i], sizeof(int64_t))) return false;
  }
  for (const uint32_t input : scalars_) {
    if (!takes(&call.scalars[input], sizeof(double))) return false;
  }
  const uint64_t own_flags = flags(call);
  if (!takes(&own_flags, sizeof own_flags)) return false;
  for (const HostInput& input : host_inputs_) {
    const void* const copy = host_copy(input, call);
    if (copy != nullptr && !takes(copy, bytes_of(input, call.axes))) return false;
  }
  return true;
}

CachedCall* PlanCache::find(uint64_t hash, const CallKey& key, const fib_kernels_raw_call& call) {
  Set& set = sets_[hash / 2 % kSets];
  for (size_t way = 0; way < kWays; ++way) {
    if (set.hashes[way] != hash || !key.equals(set.calls[way]->key, call)) continue;
    set.used[way] = ++clock_;
    return set.calls[way].get();
  }
  return nullptr;
}

CachedCall* PlanCache::insert(uint64_t hash, CachedCall&& call) {
  Set& set = sets_[hash / 2 % kSets];
  size_t oldest = kWays;
  for (size_t way = 0; way < kWays; ++way) {
    if (set.calls[way] != nullptr && set.calls[way]->is_running) continue;
    if (oldest == kWays || set.used[way] < set.used[oldest]) oldest = way;
  }
  if (oldest == kWays) return nullptr;
  set.calls[oldest] = std::make_unique<CachedCall>(std::move(call));
  set.hashes[oldest] = hash;
  set.used[oldest] = ++clock_;
  return set.calls[oldest].get();
}

namespace {

// Open addressing by op id; ids follow one another, so neighbours rarely meet.
struct ThreadPlans {
  std::vector<std::unique_ptr<OpPlans>> places = std::vector<std::unique_ptr<OpPlans>>(64);
  size_t count = 0;

  std::unique_ptr<OpPlans>& place(uint64_t op) {
    const size_t mask = places.size() - 1;  // a power of two
    size_t i = op & mask;
    while (places[i] != nullptr && places[i]->op != op) i = (i + 1) & mask;
    return places[i];
  }

  void put(std::unique_ptr<OpPlans> plans) {
    ++count;
    place(plans->op) = std::move(plans);
  }

  // Without those of closed devices, at most half full with one more.
  void rebuild() {
    std::vector<std::unique_ptr<OpPlans>> all;
    all.swap(places);
    std::erase_if(all, [](const auto& plans) { return !plans || plans->device.expired(); });
    places.resize(std::max<size_t>(64, std::bit_ceil(2 * (all.size() + 1))));
    count = 0;
    for (auto& plans : all) put(std::move(plans));
  }
};

// A plain pointer, which is read without asking whether it has been constructed; its owner frees
// the plans when the thread ends.
constinit thread_local ThreadPlans* plans_of_thread = nullptr;

struct Owner {
  ThreadPlans plans;
  ~Owner() { plans_of_thread = nullptr; }
};

}  // namespace

OpPlans* find_op_plans(uint64_t op) {
  ThreadPlans* const plans = plans_of_thread;
  return plans == nullptr ? nullptr : plans->place(op).get();
}

OpPlans& add_op_plans(uint64_t op, std::weak_ptr<const void> device) {
  if (plans_of_thread == nullptr) {
    thread_local Owner owner;
    plans_of_thread = &owner.plans;
  }
  ThreadPlans& plans = *plans_of_thread;
  plans.rebuild();
  plans.put(std::unique_ptr<OpPlans>(new OpPlans{.op = op, .device = std::move(device)}));
  return *plans.place(op);
}

}  // namespace fib::package
