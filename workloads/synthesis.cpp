#include "workloads/synthesis.h"

#include <fib/philox.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <unordered_map>

namespace fib {

uint64_t Draws::bits() { return philox_element_bits(next_++, stream_, seed_); }

int64_t Draws::below(int64_t count) {
  return uniform_int_from_bits(bits(), 0, static_cast<uint64_t>(count));
}

uint64_t Draws::skewed() {
  // The sum of four 16-bit uniforms is near-normal with deviation 37837; read as a fixed-point
  // exponent with 15 fractional bits it spans 2^0..2^8 with deviation 2^1.15.
  const uint64_t word = bits();
  const uint64_t sum =
      (word & 0xFFFF) + (word >> 16 & 0xFFFF) + (word >> 32 & 0xFFFF) + (word >> 48);
  const uint64_t whole = sum >> 15, fraction = sum & 0x7FFF;
  return (65536 + 2 * fraction) << whole;  // 2^x, linear between powers
}

std::vector<int64_t> skewed_lengths(int64_t total, const std::vector<int64_t>& minimum,
                                    int64_t maximum, Draws& draws) {
  std::vector<uint64_t> shares(minimum.size());
  for (uint64_t& share : shares) share = draws.skewed();
  const uint64_t all = std::accumulate(shares.begin(), shares.end(), uint64_t{0});
  const int64_t spare = total - std::accumulate(minimum.begin(), minimum.end(), int64_t{0});

  // Differences of rounded running totals: the sum comes out exact.
  std::vector<int64_t> lengths = minimum;
  uint64_t running = 0;
  int64_t given = 0, excess = 0;
  for (size_t i = 0; i < lengths.size(); ++i) {
    running += shares[i];
    const auto upto = static_cast<int64_t>(static_cast<__int128>(spare) * running / all);
    lengths[i] += upto - given;
    given = upto;
    excess += std::max<int64_t>(0, lengths[i] - maximum);
    lengths[i] = std::min(lengths[i], maximum);
  }
  for (size_t i = 0; i < lengths.size() && excess > 0; ++i) {
    const int64_t moved = std::min(excess, maximum - lengths[i]);
    lengths[i] += moved;
    excess -= moved;
  }
  return lengths;
}

std::vector<int64_t> offsets_of(const std::vector<int64_t>& lengths) {
  std::vector<int64_t> offsets = {0};
  for (const int64_t length : lengths) offsets.push_back(offsets.back() + length);
  return offsets;
}

std::vector<int64_t> lengths_of(const std::vector<int64_t>& offsets) {
  std::vector<int64_t> lengths;
  for (size_t i = 1; i < offsets.size(); ++i) lengths.push_back(offsets[i] - offsets[i - 1]);
  return lengths;
}

namespace {

// All of [0, count) with runs of neighbours kept together.
std::vector<int64_t> shuffled_runs(int64_t count, int64_t run, Draws& draws) {
  std::vector<int64_t> runs(static_cast<size_t>((count + run - 1) / run));
  std::iota(runs.begin(), runs.end(), 0);
  for (size_t i = runs.size(); i > 1; --i) {
    std::swap(runs[i - 1], runs[static_cast<size_t>(draws.below(static_cast<int64_t>(i)))]);
  }
  std::vector<int64_t> ids;
  ids.reserve(static_cast<size_t>(count));
  for (const int64_t r : runs) {
    for (int64_t id = r * run; id < std::min(count, (r + 1) * run); ++id) ids.push_back(id);
  }
  return ids;
}

// How many leading pages each request takes from the longest one, so that `excess` pages are
// saved: evenly first, then whatever is still possible.
std::vector<int64_t> shared_prefixes(const std::vector<int64_t>& lengths, size_t longest,
                                     int64_t excess) {
  std::vector<int64_t> shared(lengths.size(), 0);
  const auto others = static_cast<int64_t>(lengths.size()) - 1;
  for (const int64_t quota : {others > 0 ? (excess + others - 1) / others : 0, excess}) {
    for (size_t i = 0; i < lengths.size(); ++i) {
      if (i == longest) continue;
      const int64_t more = std::min({quota, lengths[i], excess + shared[i]}) - shared[i];
      if (more <= 0) continue;
      shared[i] += more;
      excess -= more;
    }
  }
  return shared;
}

}  // namespace

std::vector<int64_t> page_table(const std::vector<int64_t>& lengths, int64_t num_pages,
                                Draws& draws) {
  constexpr int64_t kRun = 8;
  const std::vector<int64_t> offsets = offsets_of(lengths);
  const std::vector<int64_t> pool = shuffled_runs(num_pages, kRun, draws);
  const auto longest =
      static_cast<size_t>(std::max_element(lengths.begin(), lengths.end()) - lengths.begin());
  const std::vector<int64_t> shared =
      shared_prefixes(lengths, longest, std::max<int64_t>(0, offsets.back() - num_pages));

  std::vector<int64_t> table(static_cast<size_t>(offsets.back()));
  auto next = pool.begin();
  const auto take = [&](size_t request) {
    const auto begin = table.begin() + offsets[request];
    const auto prefix_end = std::copy_n(table.begin() + offsets[longest], shared[request], begin);
    const int64_t own = lengths[request] - shared[request];
    std::copy_n(next, own, prefix_end);
    next += own;
  };
  if (!lengths.empty()) take(longest);
  for (size_t request = 0; request < lengths.size(); ++request) {
    if (request != longest) take(request);
  }
  return table;
}

std::vector<int64_t> last_page_lengths(const std::vector<int64_t>& pages,
                                       const std::vector<int64_t>& minimum_tokens,
                                       int64_t page_size, Draws& draws) {
  std::vector<int64_t> last;
  for (size_t i = 0; i < pages.size(); ++i) {
    const int64_t least =
        std::clamp<int64_t>(minimum_tokens[i] - (pages[i] - 1) * page_size, 1, page_size);
    last.push_back(pages[i] == 0 ? page_size : least + draws.below(page_size - least + 1));
  }
  return last;
}

std::vector<int64_t> expert_ids(int64_t tokens, int64_t top_k, int64_t num_experts, Draws& draws) {
  // Popularity of rank r is 1 / (r + 16): the first of 384 experts is 25 times the last.
  const std::vector<int64_t> by_rank = shuffled_runs(num_experts, 1, draws);
  std::vector<uint64_t> cumulative;
  uint64_t sum = 0;
  for (int64_t rank = 0; rank < num_experts; ++rank) {
    cumulative.push_back(sum += (uint64_t{1} << 32) / static_cast<uint64_t>(rank + 16));
  }
  std::vector<int64_t> ids;
  ids.reserve(static_cast<size_t>(tokens * top_k));
  std::vector<int64_t> token_of(static_cast<size_t>(num_experts), -1);  // last that chose it
  for (int64_t token = 0; token < tokens; ++token) {
    for (int64_t k = 0; k < top_k; ++k) {
      const auto drawn = std::upper_bound(cumulative.begin(), cumulative.end(), draws.bits() % sum);
      auto rank = static_cast<size_t>(drawn - cumulative.begin());
      while (token_of[rank] == token) rank = (rank + 1) % token_of.size();  // taken: the next one
      token_of[rank] = token;
      ids.push_back(by_rank[rank]);
    }
  }
  return ids;
}

std::vector<double> expert_weights(int64_t tokens, int64_t top_k, Draws& draws) {
  std::vector<double> weights;
  weights.reserve(static_cast<size_t>(tokens * top_k));
  std::vector<uint64_t> row(static_cast<size_t>(top_k));
  for (int64_t token = 0; token < tokens; ++token) {
    for (uint64_t& share : row) share = draws.skewed();
    std::sort(row.begin(), row.end(), std::greater<>());
    const auto sum = static_cast<double>(std::accumulate(row.begin(), row.end(), uint64_t{0}));
    for (const uint64_t share : row) weights.push_back(static_cast<double>(share) / sum);
  }
  return weights;
}

std::vector<double> router_logits(int64_t tokens, int64_t num_experts, Draws& draws) {
  std::vector<float> popularity(static_cast<size_t>(num_experts));
  for (float& value : popularity) value = normal_from_bits(draws.bits());
  std::vector<double> logits;
  logits.reserve(static_cast<size_t>(tokens * num_experts));
  for (int64_t token = 0; token < tokens; ++token) {
    for (const float value : popularity) logits.push_back(value + normal_from_bits(draws.bits()));
  }
  return logits;
}

std::vector<int64_t> distinct_ids(int64_t count, int64_t limit, Draws& draws) {
  // The first `count` steps of a Fisher-Yates shuffle of [0, limit), holding only what moved.
  std::unordered_map<int64_t, int64_t> moved;
  const auto at = [&](int64_t i) {
    const auto found = moved.find(i);
    return found == moved.end() ? i : found->second;
  };
  std::vector<int64_t> ids;
  ids.reserve(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    const int64_t j = i + draws.below(limit - i);
    ids.push_back(at(j));
    moved[j] = at(i);
  }
  return ids;
}

std::vector<int64_t> any_ids(int64_t count, int64_t limit, Draws& draws) {
  std::vector<int64_t> ids(static_cast<size_t>(count));
  for (int64_t& id : ids) id = draws.below(limit);
  return ids;
}

std::vector<double> choices(int64_t count, const std::vector<double>& values, Draws& draws) {
  std::vector<double> chosen(static_cast<size_t>(count));
  for (double& value : chosen) {
    value = values[static_cast<size_t>(draws.below(static_cast<int64_t>(values.size())))];
  }
  return chosen;
}

}  // namespace fib
