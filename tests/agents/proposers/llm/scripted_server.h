#pragma once

// scripted_chat_server.py as a process of a test.

#include <string>
#include <vector>

#include "agents/proposers/llm.h"
#include "signatures/base/json.h"
#include "tests/scratch_folder.h"

namespace fib::agents::testing {

struct ChatScript {
  std::string key;          // that requests need; empty: none
  std::vector<Json> steps;  // one a request, as the server describes them
  Json otherwise;           // of the requests beyond
  std::string certificate;  // a file; then it speaks TLS
};

class ScriptedServer {
 public:
  explicit ScriptedServer(const ChatScript& script);
  ScriptedServer(const ScriptedServer&) = delete;
  ScriptedServer& operator=(const ScriptedServer&) = delete;
  ~ScriptedServer();

  std::string url() const;
  std::vector<Json> requests() const;  // so far: {"path", "authorization", "content_type", "body"}

 private:
  ScratchFolder folder_;
  std::string scheme_;
  int stdin_ = -1, process_ = -1, port_ = 0;
};

// Options for it that wait for nothing, and note in `waits` how long they would have.
LlmOptions options_for(const ScriptedServer& server, std::vector<double>* waits = nullptr);

Json answer(const std::string& content);  // a step

}  // namespace fib::agents::testing
