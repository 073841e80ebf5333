#pragma once

// What a compiler said, read: g++'s, NVRTC's, ptxas's and the linker's messages with their places,
// errors first, each with the lines of the source that it is about.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "signatures/base/json.h"
#include "signatures/trace.h"

namespace fib::agents {

struct CompileMessage {
  enum class Severity { kError, kWarning };
  Severity severity = Severity::kError;
  std::string file;  // empty: it has no place
  int64_t line = 0, column = 0;
  std::string text;
  std::vector<std::string> notes;  // where a template was instantiated, what else was declared, ...
};

// In the order of the log, without repetitions. Lines that are no messages are left out.
std::vector<CompileMessage> read_compile_log(std::string_view log);

// {"messages": [{"severity", "file", "line", "column", "text", "notes", "source"}], "omitted": 3};
// beside errors, warnings are only counted. "text" in place of messages where the log has none that
// can be read. Bounded. Null for an empty log.
Json compile_log_to_json(std::string_view log, const std::vector<SourceFile>& sources);

}  // namespace fib::agents
