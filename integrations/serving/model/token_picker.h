#pragma once

// From the logits of a step to its tokens: the argmax and sampling signatures on the device; for
// rows with penalties, biases or log probabilities the host sees the logits first.

#include "integrations/package/dispatch.h"
#include "integrations/serving/model/step_inputs.h"

namespace fib {

class TokenPicker {
 public:
  static Result<TokenPicker> create(Dispatch& dispatch, const SignatureRequest& argmax,
                                    const SignatureRequest& sampling, int vocab_size, int max_rows);

  // `logits`: float32 [choices, vocab_size] on the device; rows with penalties are changed there.
  // Waits for the device.
  Result<std::vector<ChosenToken>> pick(std::byte* logits, const std::vector<TokenChoice>& choices,
                                        StepPacker& packer);

 private:
  float* host_row(size_t index) const {
    return host_logits_.as<float>() + index * static_cast<size_t>(vocab_size_);
  }
  // Downloads the rows that the host has to see; their places in host_logits_ by choice, or -1.
  Result<std::vector<int>> fetch_rows(std::byte* logits, const std::vector<TokenChoice>& choices);

  Dispatch* dispatch_ = nullptr;
  Kernel* argmax_ = nullptr;
  Kernel* sampling_ = nullptr;
  int vocab_size_ = 0;
  DeviceArray tokens_;       // int32 [max_rows]
  HostArray host_tokens_;    // int32 [max_rows]
  HostArray host_logits_;    // float32 [rows seen by the host, vocab_size], grown on demand
};

}  // namespace fib
