#pragma once

// Traces of requests to real LLM services: when each came, how long its prompt and answer were,
// which prompts began alike. Plain files, or packed ones (.gz).

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "signatures/base/result.h"

namespace fib {

enum class TraceFormat {
  kMooncake,  // JSON lines: timestamp (ms), input_length, output_length, hash_ids
  kAzure,     // CSV: TIMESTAMP (date and time), ContextTokens, GeneratedTokens
  kVidur,     // CSV: num_prefill_tokens, num_decode_tokens and more; lengths only
};
std::optional<TraceFormat> trace_format_from_name(std::string_view name);  // "mooncake", ...

struct TracedRequest {
  double arrival_s = 0.0;  // since the first request; 0 in traces without times
  int64_t input_tokens = 0;
  int64_t output_tokens = 0;
  // The prompt in blocks of kPrefixBlockTokens, the last one shorter: equal ids are equal blocks
  // behind equal blocks. Empty where the trace doesn't say.
  std::vector<uint64_t> prefix_blocks;
};
inline constexpr int64_t kPrefixBlockTokens = 512;

struct RequestTrace {
  bool has_arrivals = false;
  std::vector<TracedRequest> requests;  // in order of arrival
};

// Other columns and members than those above are ignored. Errors name file, line and field: a
// header without the columns, a missing or damaged value, a length below 1 (0 generated tokens are
// possible), time that goes back, blocks that don't make up the prompt, no requests at all.
Result<RequestTrace> read_request_trace(const std::filesystem::path& file, TraceFormat format);

}  // namespace fib
