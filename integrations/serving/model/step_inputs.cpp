#include "integrations/serving/model/step_inputs.h"

#include <cstring>

namespace fib {
namespace {

constexpr size_t kWord = sizeof(int32_t);
constexpr size_t kAlignWords = 64;  // each array begins at 256 bytes

size_t aligned(size_t words) { return (words + kAlignWords - 1) / kAlignWords * kAlignWords; }

int32_t slot_of(const StepSegment& segment, int position, int page_size) {
  return segment.pages[static_cast<size_t>(position / page_size)] * page_size +
         position % page_size;
}

int pages_of(const StepSegment& segment, int page_size) {
  return (segment.kv_length() + page_size - 1) / page_size;
}

int32_t last_page_len(const StepSegment& segment, int page_size) {
  return (segment.kv_length() - 1) % page_size + 1;
}

}  // namespace

Result<StepPacker> StepPacker::create(ServingDevice& device, const StepCapacity& capacity) {
  StepPacker packer;
  packer.device_ = &device;
  packer.capacity_ = capacity;
  const size_t bytes =
      layout_of(capacity.decode_rows, capacity.tokens, capacity.sequences).words * kWord;
  const size_t page_bytes = static_cast<size_t>(capacity.page_entries) * kWord;
  const size_t choice_bytes =
      5 * aligned(static_cast<size_t>(capacity.decode_rows + capacity.sequences)) * kWord;
  packer.packed_ = FIB_TRY(device.allocate(bytes));
  packer.host_ = FIB_TRY(device.allocate_host(bytes));
  packer.pages_ = FIB_TRY(device.allocate(page_bytes));
  packer.host_pages_ = FIB_TRY(device.allocate_host(page_bytes));
  packer.choices_ = FIB_TRY(device.allocate(choice_bytes));
  packer.host_choices_ = FIB_TRY(device.allocate_host(choice_bytes));
  // A graph may read more of them than was ever written.
  FIB_CHECK(device.fill(packer.pages_.data(), 0, page_bytes));
  return packer;
}

StepPacker::Layout StepPacker::layout_of(int decode_rows, int prefill_rows, int sequences) {
  Layout layout{};
  size_t at = 0;
  const auto place = [&](int words) {
    const size_t offset = at;
    at += aligned(static_cast<size_t>(words));
    return offset;
  };
  const int rows = decode_rows + prefill_rows;
  layout.token_ids = place(rows);
  layout.positions = place(rows);
  layout.slots = place(rows);
  layout.decode_kv_indptr = place(decode_rows + 1);
  layout.decode_last_page_len = place(decode_rows);
  layout.padding_rows = place(1);
  layout.qo_indptr = place(sequences + 1);
  layout.prefill_kv_indptr = place(sequences + 1);
  layout.prefill_last_page_len = place(sequences);
  layout.words = at;
  return layout;
}

Operand StepPacker::operand(size_t offset, int64_t count) const {
  Operand operand = Operand::tensor(packed_.data() + offset * kWord, {count});
  operand.host = words(offset);
  return operand;
}

StepInputs StepPacker::inputs_at(const Layout& layout, int decode_rows, int prefill_rows,
                                 int sequences) const {
  StepInputs inputs{.decode_rows = decode_rows,
                    .padding_rows = words(layout.padding_rows),
                    .prefill_rows = prefill_rows};
  const int rows = decode_rows + prefill_rows;
  inputs.token_ids = operand(layout.token_ids, rows);
  inputs.positions = operand(layout.positions, rows);
  inputs.slots = operand(layout.slots, rows);
  inputs.decode = {.num_rows = decode_rows,
                   .num_sequences = decode_rows,
                   .kv_indptr = operand(layout.decode_kv_indptr, decode_rows + 1),
                   .last_page_len = operand(layout.decode_last_page_len, decode_rows)};
  inputs.prefill = {.first_row = decode_rows,
                    .num_rows = prefill_rows,
                    .num_sequences = sequences,
                    .qo_indptr = operand(layout.qo_indptr, sequences + 1),
                    .kv_indptr = operand(layout.prefill_kv_indptr, sequences + 1),
                    .last_page_len = operand(layout.prefill_last_page_len, sequences)};
  return inputs;
}

StepInputs StepPacker::graph_inputs(int rows) const {
  StepInputs inputs = inputs_at(layout_of(rows, 0, 0), rows, 0, 0);
  inputs.values = InputValues::kOfEachLaunch;
  inputs.decode.kv_indices = Operand::tensor(pages_, {capacity_.page_entries});
  inputs.decode.kv_indices.host = host_pages_.data();
  return inputs;
}

void StepPacker::write_decode(const Step& step, int decode_rows, const Layout& layout) {
  const int page_size = capacity_.page_size;
  int32_t* kv_indptr = words(layout.decode_kv_indptr);
  int32_t* pages = host_pages_.as<int32_t>();
  kv_indptr[0] = 0;
  for (int row = 0; row < decode_rows; ++row) {
    const auto at = static_cast<size_t>(row);
    if (at < step.decode.size()) {
      const StepSegment& segment = step.decode[at];
      words(layout.token_ids)[row] = segment.tokens[0];
      words(layout.positions)[row] = segment.first_position;
      words(layout.slots)[row] = slot_of(segment, segment.first_position, page_size);
      words(layout.decode_last_page_len)[row] = last_page_len(segment, page_size);
      const int count = pages_of(segment, page_size);
      std::memcpy(pages + kv_indptr[row], segment.pages.data(),
                  static_cast<size_t>(count) * kWord);
      kv_indptr[row + 1] = kv_indptr[row] + count;
    } else {
      words(layout.token_ids)[row] = 0;
      words(layout.positions)[row] = 0;
      words(layout.slots)[row] = capacity_.first_spare_page * page_size + row;
      words(layout.decode_last_page_len)[row] = 0;
      kv_indptr[row + 1] = kv_indptr[row];
    }
  }
  *words(layout.padding_rows) = decode_rows - static_cast<int>(step.decode.size());
  decode_entries_ = static_cast<size_t>(kv_indptr[decode_rows]);
}

void StepPacker::write_prefill(const Step& step, int decode_rows, const Layout& layout) {
  const int page_size = capacity_.page_size;
  int32_t* qo_indptr = words(layout.qo_indptr);
  int32_t* kv_indptr = words(layout.prefill_kv_indptr);
  int32_t* pages = host_pages_.as<int32_t>() + decode_entries_;
  qo_indptr[0] = kv_indptr[0] = 0;
  int row = decode_rows;
  for (size_t i = 0; i < step.prefill.size(); ++i) {
    const StepSegment& segment = step.prefill[i];
    for (int t = 0; t < segment.num_tokens(); ++t, ++row) {
      const int position = segment.first_position + t;
      words(layout.token_ids)[row] = segment.tokens[static_cast<size_t>(t)];
      words(layout.positions)[row] = position;
      words(layout.slots)[row] = slot_of(segment, position, page_size);
    }
    const int count = pages_of(segment, page_size);
    std::memcpy(pages + kv_indptr[i], segment.pages.data(), static_cast<size_t>(count) * kWord);
    words(layout.prefill_last_page_len)[i] = last_page_len(segment, page_size);
    qo_indptr[i + 1] = qo_indptr[i] + segment.num_tokens();
    kv_indptr[i + 1] = kv_indptr[i] + count;
  }
  prefill_entries_ = static_cast<size_t>(kv_indptr[step.prefill.size()]);
}

Result<StepInputs> StepPacker::pack(const Step& step, int decode_rows, Use use) {
  int prefill_rows = 0;
  for (const StepSegment& segment : step.prefill) prefill_rows += segment.num_tokens();
  const int sequences = static_cast<int>(step.prefill.size());
  const Layout layout = layout_of(decode_rows, prefill_rows, sequences);
  write_decode(step, decode_rows, layout);
  write_prefill(step, decode_rows, layout);
  FIB_CHECK(device_->upload(packed_.data(), host_.data(), layout.words * kWord));
  FIB_CHECK(device_->upload(pages_.data(), host_pages_.data(),
                            (decode_entries_ + prefill_entries_) * kWord));
  if (use == Use::kGraph) return graph_inputs(decode_rows);
  StepInputs inputs = inputs_at(layout, decode_rows, prefill_rows, sequences);
  inputs.decode.kv_indices =
      Operand::tensor(pages_.data(), {static_cast<int64_t>(decode_entries_)});
  inputs.prefill.kv_indices = Operand::tensor(pages_.data() + decode_entries_ * kWord,
                                              {static_cast<int64_t>(prefill_entries_)});
  inputs.decode.kv_indices.host = host_pages_.data();  // for whoever captures the call
  inputs.prefill.kv_indices.host = host_pages_.as<int32_t>() + decode_entries_;
  return inputs;
}

Result<ChoiceInputs> StepPacker::pack_choices(const std::vector<TokenChoice>& choices) {
  const size_t stride = aligned(choices.size());
  float* floats = host_choices_.as<float>();
  int32_t* top_k = host_choices_.as<int32_t>() + 4 * stride;
  for (size_t i = 0; i < choices.size(); ++i) {
    floats[i] = choices[i].temperature;
    floats[stride + i] = choices[i].top_p;
    floats[2 * stride + i] = choices[i].min_p;
    floats[3 * stride + i] = choices[i].uniform;
    top_k[i] = choices[i].top_k;
  }
  FIB_CHECK(device_->upload(choices_.data(), host_choices_.data(), 5 * stride * kWord));
  const auto part = [&](size_t index) {
    const size_t offset = index * stride * kWord;
    Operand operand = Operand::tensor(choices_.data() + offset,
                                      {static_cast<int64_t>(choices.size())});
    operand.host = host_choices_.data() + offset;
    return operand;
  };
  return ChoiceInputs{
      .temperature = part(0), .top_p = part(1), .min_p = part(2), .uniform = part(3),
      .top_k = part(4)};
}

}  // namespace fib
