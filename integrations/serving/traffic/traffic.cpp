#include "integrations/serving/traffic/traffic.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace fib {
namespace {

// A block that no other request has: the ids of traces count from 0 and stay far below.
constexpr uint64_t kOwnBlock = uint64_t{1} << 63;

// SplitMix64: neighbouring inputs give unrelated outputs.
uint64_t mix(uint64_t value) {
  value += 0x9E3779B97F4A7C15u;
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
  return value ^ (value >> 31);
}

Failure bad_option(std::string_view option, std::string message) {
  return fail(ErrorCode::kInvalidInput, std::move(message), std::string(option));
}

Result<void> check(const TrafficOptions& options, const RequestTrace& trace) {
  const auto check_positive = [](std::string_view name, double value) -> Result<void> {
    if (value > 0.0 && std::isfinite(value)) return {};
    return bad_option(name, fmt::format("{} isn't a number above 0", value));
  };
  FIB_CHECK(check_positive("rate scale", options.rate_scale));
  FIB_CHECK(check_positive("length scale", options.length_scale));
  if (options.poisson_rate) FIB_CHECK(check_positive("rate", *options.poisson_rate));
  if (!trace.has_arrivals && !options.poisson_rate) {
    return bad_option("rate", "the trace has no arrival times, so a rate has to be given");
  }
  if (options.first_request >= trace.requests.size()) {
    return bad_option("first request", fmt::format("{}, but the trace has {} requests",
                                                   options.first_request, trace.requests.size()));
  }
  if (options.max_tokens < 2) {
    return bad_option("max tokens", "a prompt and an answer need a token each");
  }
  if (options.vocab_size < 1) return bad_option("vocabulary", "has no tokens");
  return {};
}

}  // namespace

Result<Traffic> Traffic::plan(const RequestTrace& trace, TrafficOptions options) {
  FIB_CHECK(check(options, trace));
  const auto first = trace.requests.begin() + static_cast<std::ptrdiff_t>(options.first_request);
  const auto left = static_cast<size_t>(trace.requests.end() - first);
  const size_t count = options.num_requests == 0 ? left : std::min(left, options.num_requests);
  if (options.num_warm_up >= count) {
    return bad_option("warm-up", fmt::format("{} of {} requests, which leaves none to measure",
                                             options.num_warm_up, count));
  }
  Traffic traffic(std::move(options));
  const TrafficOptions& chosen = traffic.options_;
  double arrival_s = 0.0;
  for (size_t i = 0; i < count; ++i) {
    const TracedRequest& traced = first[static_cast<std::ptrdiff_t>(i)];
    if (chosen.poisson_rate && i > 0) {
      // Uniform in (0, 1), so that the gap is finite.
      const double uniform = (static_cast<double>(mix(chosen.seed + mix(i)) >> 11) + 0.5) * 0x1p-53;
      arrival_s -= std::log(uniform) / *chosen.poisson_rate;
    } else if (!chosen.poisson_rate) {
      arrival_s = (traced.arrival_s - first->arrival_s) / chosen.rate_scale;
    }
    Planned planned = traffic.scale(traced);
    planned.arrival_s = arrival_s;
    const auto blocks = static_cast<size_t>((planned.input_tokens + traffic.block_tokens() - 1) /
                                            traffic.block_tokens());
    // Rounding may ask for a block more than the trace has; it is this request's own.
    planned.blocks.resize(std::min(planned.blocks.size(), blocks));
    while (planned.blocks.size() < blocks) {
      planned.blocks.push_back(kOwnBlock + mix(i) / 4 + planned.blocks.size());
    }
    traffic.requests_.push_back(std::move(planned));
  }
  return traffic;
}

Traffic::Planned Traffic::scale(const TracedRequest& traced) {
  const auto scaled = [&](int64_t tokens) {
    return std::max<int64_t>(1, std::llround(static_cast<double>(tokens) * options_.length_scale));
  };
  const int64_t input = scaled(traced.input_tokens), output = scaled(traced.output_tokens);
  // An endless answer may not crowd out its prompt.
  const int64_t kept_output = std::min<int64_t>(output, options_.max_tokens / 2);
  const int64_t kept_input = std::min<int64_t>(input, options_.max_tokens - kept_output);
  if (kept_input != input || kept_output != output) ++num_cut_;
  return {.input_tokens = static_cast<int>(kept_input),
          .output_tokens = static_cast<int>(kept_output),
          .blocks = traced.prefix_blocks};
}

int Traffic::block_tokens() const {
  const double tokens = static_cast<double>(kPrefixBlockTokens) * options_.length_scale;
  return static_cast<int>(std::clamp<double>(std::round(tokens), 1.0, options_.max_tokens));
}

void Traffic::fill(uint64_t block, std::span<TokenId> tokens) const {
  const uint64_t key = mix(options_.seed + mix(block));
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (options_.corpus.empty()) {
      tokens[i] = static_cast<TokenId>(mix(key + i) % static_cast<uint64_t>(options_.vocab_size));
    } else {
      tokens[i] = options_.corpus[(key % options_.corpus.size() + i) % options_.corpus.size()];
    }
  }
}

EngineRequest Traffic::request(size_t i) const {
  const Planned& planned = requests_[i];
  EngineRequest request;
  request.prompt.resize(static_cast<size_t>(planned.input_tokens));
  std::span<TokenId> rest = request.prompt;
  for (const uint64_t block : planned.blocks) {
    const size_t count = std::min(rest.size(), static_cast<size_t>(block_tokens()));
    fill(block, rest.first(count));
    rest = rest.subspan(count);
  }
  request.sampling = {.max_tokens = planned.output_tokens,
                      .temperature = options_.temperature,
                      .seed = mix(options_.seed + i),
                      .ignore_eos = true};
  return request;
}

}  // namespace fib
