#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <vector>

#include "integrations/serving/engine/request.h"

namespace fib::testing {

// Keeps what it hears, and insists on its order.
class RecordingListener : public RequestListener {
 public:
  void on_token(const GeneratedToken& token) override {
    EXPECT_FALSE(reason) << "a token after the end";
    tokens.push_back(token.token);
  }
  void on_end(FinishReason ended, const RequestUsage& used,
              const std::optional<Error>& why) override {
    EXPECT_FALSE(reason) << "a second end";
    EXPECT_EQ(ended == FinishReason::kError, why.has_value());
    reason = ended;
    usage = used;
    error = why;
  }

  std::vector<TokenId> tokens;
  std::optional<FinishReason> reason;
  RequestUsage usage;
  std::optional<Error> error;
};

}  // namespace fib::testing
