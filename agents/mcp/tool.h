#pragma once

// One thing that a client may ask of us.

#include <functional>
#include <string>
#include <vector>

#include "signatures/base/json.h"

namespace fib::mcp {

struct ToolProgress {
  double done = 0.0, total = 0.0;
  std::string message;
};

// What a tool is given besides its arguments.
struct ToolCall {
  std::function<void(const ToolProgress&)> on_progress;  // never empty; any thread, one at a time
  std::function<bool()> cancelled;                       // never empty
};

struct ToolAnswer {
  Json structured;   // as the output schema says
  std::string text;  // the same in short, for whoever shows or reads text only
};

struct Tool {
  // Tools that build or measure run one at a time, in the order in which they were asked for; the
  // others are answered at once, whatever runs.
  enum class Pace { kQuick, kSlow };
  enum class Effect { kReadsOnly, kAdds };

  std::string name, title, description;
  Json input_schema, output_schema;
  Pace pace = Pace::kQuick;
  Effect effect = Effect::kReadsOnly;
  // The arguments have passed the input schema.
  std::function<Result<ToolAnswer>(const Json& arguments, const ToolCall& call)> run;
};

}  // namespace fib::mcp
