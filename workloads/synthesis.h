#pragma once

// Makers of integer structure: request lengths, page tables, routing. Everything is integer
// arithmetic on Philox draws, so that a structure seed means the same traffic on every machine.
// Lengths and expert popularity are skewed as real traffic is.

#include <cstdint>
#include <vector>

namespace fib {

// A stream of random words from (seed, stream).
class Draws {
 public:
  Draws(uint64_t seed, uint32_t stream) : seed_(seed), stream_(stream) {}

  uint64_t bits();
  int64_t below(int64_t count);  // uniform in [0, count)
  // Log-normal like: an integer of about 2^16 * 2^(1.15 * normal), at least 2^16.
  uint64_t skewed();

 private:
  uint64_t seed_;
  uint32_t stream_;
  uint64_t next_ = 0;
};

// minimum[i] + a skewed share of what is left of `total`, at most `maximum`; the sum is `total`
// exactly. Needs sum(minimum) <= total <= maximum * size and minimum[i] <= maximum.
std::vector<int64_t> skewed_lengths(int64_t total, const std::vector<int64_t>& minimum,
                                    int64_t maximum, Draws& draws);

std::vector<int64_t> offsets_of(const std::vector<int64_t>& lengths);  // [0, l0, l0+l1, ...]
std::vector<int64_t> lengths_of(const std::vector<int64_t>& offsets);

// Page ids in [0, num_pages) for requests of `lengths` pages: in short runs of neighbours, as an
// allocator hands them out, distinct within a request. Where the requests have more pages
// together than there are, later ones share a prefix with the longest. Needs
// max(lengths) <= num_pages.
std::vector<int64_t> page_table(const std::vector<int64_t>& lengths, int64_t num_pages,
                                Draws& draws);

// Tokens in the last page of each request, in [1, page_size], such that a request of so many pages
// holds at least minimum_tokens[i]; page_size where there are no pages, so that
// (pages - 1) * page_size + last is 0.
std::vector<int64_t> last_page_lengths(const std::vector<int64_t>& pages,
                                       const std::vector<int64_t>& minimum_tokens,
                                       int64_t page_size, Draws& draws);

// [tokens, top_k] expert ids, distinct in a row, popularity falling as in Zipf's law.
// Needs top_k <= num_experts.
std::vector<int64_t> expert_ids(int64_t tokens, int64_t top_k, int64_t num_experts, Draws& draws);
// [tokens, top_k] positive weights, falling, each row summing to 1 but for rounding.
std::vector<double> expert_weights(int64_t tokens, int64_t top_k, Draws& draws);
// [tokens, experts] router logits: N(0, 1) plus each expert's popularity, N(0, 1) too.
std::vector<double> router_logits(int64_t tokens, int64_t num_experts, Draws& draws);

// `count` distinct ids in [0, limit).
std::vector<int64_t> distinct_ids(int64_t count, int64_t limit, Draws& draws);

// `count` ids in [0, limit), repeated or not.
std::vector<int64_t> any_ids(int64_t count, int64_t limit, Draws& draws);

// `count` times one of `values`. Needs one at least.
std::vector<double> choices(int64_t count, const std::vector<double>& values, Draws& draws);

}  // namespace fib
