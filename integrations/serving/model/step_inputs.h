#pragma once

// A step's integers and sampling parameters on the device: which tokens, where they stand, which
// pages they see. Packed into one piece of memory, so that a step costs one copy for them and one
// for the page tables, and laid out by the step's sizes alone, so that a captured graph finds the
// same things at the same places.

#include <span>
#include <vector>

#include "integrations/package/kernel.h"
#include "integrations/serving/engine/executor.h"

namespace fib {

struct StepCapacity {
  int tokens = 0;       // max_step_tokens
  int decode_rows = 0;  // max_decode_rows
  int sequences = 0;    // prefill segments of a step
  int page_size = 0;
  int64_t page_entries = 0;  // of all segments' page tables together
  // Pages behind the cache's own, one slot a padding row: its key and value have to go somewhere.
  int32_t first_spare_page = 0;
};

// The attention of consecutive rows: decode (one row a sequence) or prefill.
struct AttentionInputs {
  int first_row = 0, num_rows = 0, num_sequences = 0;
  Operand qo_indptr;      // int32 [num_sequences + 1]; prefill only
  Operand kv_indptr;      // int32 [num_sequences + 1]
  Operand kv_indices;     // int32 [entries]
  Operand last_page_len;  // int32 [num_sequences]
};

// Decode rows come first, then padding rows, then prefill rows.
struct StepInputs {
  InputValues values = InputValues::kOfThisCall;  // of the calls that take them
  int decode_rows = 0;   // with padding
  const int32_t* padding_rows = nullptr;  // on the host: how many of these are
  int prefill_rows = 0;
  Operand token_ids, positions, slots;  // int32 [decode_rows + prefill_rows]
  AttentionInputs decode, prefill;
};

struct ChoiceInputs {  // [choices] each
  Operand temperature, top_p, min_p, uniform;  // float32
  Operand top_k;                               // int32
};

class StepPacker {
 public:
  static Result<StepPacker> create(ServingDevice& device, const StepCapacity& capacity);

  // What the graph of a decode step of `rows` rows refers to: page tables by their capacity, and
  // host copies that each pack() for the graph writes anew.
  StepInputs graph_inputs(int rows) const;
  // Writes the step and enqueues its copies. `decode_rows` may exceed the step's: padding. kGraph:
  // for the graph that was captured with graph_inputs(decode_rows).
  enum class Use { kEager, kGraph };
  Result<StepInputs> pack(const Step& step, int decode_rows, Use use);
  Result<ChoiceInputs> pack_choices(const std::vector<TokenChoice>& choices);

 private:
  struct Layout {  // offsets in the packed memory, in int32 words
    size_t token_ids, positions, slots;
    size_t decode_kv_indptr, decode_last_page_len, padding_rows;
    size_t qo_indptr, prefill_kv_indptr, prefill_last_page_len;
    size_t words;
  };
  static Layout layout_of(int decode_rows, int prefill_rows, int sequences);
  StepInputs inputs_at(const Layout& layout, int decode_rows, int prefill_rows,
                       int sequences) const;
  void write_decode(const Step& step, int decode_rows, const Layout& layout);
  void write_prefill(const Step& step, int decode_rows, const Layout& layout);
  int32_t* words(size_t offset) const { return host_.as<int32_t>() + offset; }
  Operand operand(size_t offset, int64_t count) const;

  ServingDevice* device_ = nullptr;
  StepCapacity capacity_;
  DeviceArray packed_, pages_, choices_;
  HostArray host_, host_pages_, host_choices_;
  size_t decode_entries_ = 0, prefill_entries_ = 0;  // of host_pages_, decode's first
};

}  // namespace fib
