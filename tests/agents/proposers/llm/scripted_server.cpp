#include "tests/agents/proposers/llm/scripted_server.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <stdexcept>

namespace fib::agents::testing {

ScriptedServer::ScriptedServer(const ChatScript& script)
    : scheme_(script.certificate.empty() ? "http" : "https") {
  ::setenv("no_proxy", "127.0.0.1", 1);  // whatever proxy the tester has
  Json document{{"steps", script.steps}, {"otherwise", script.otherwise}};
  if (!script.key.empty()) document["key"] = script.key;
  if (!script.certificate.empty()) document["certificate"] = script.certificate;
  std::ofstream(folder_ / "script.json") << document.dump();
  int to[2], from[2];
  if (::pipe2(to, O_CLOEXEC) != 0 || ::pipe2(from, O_CLOEXEC) != 0) {
    throw std::runtime_error("no pipe");
  }
  const std::string file = (folder_ / "script.json").string(),
                    log = (folder_ / "log.jsonl").string();
  process_ = ::fork();
  if (process_ == 0) {
    ::dup2(to[0], STDIN_FILENO);
    ::dup2(from[1], STDOUT_FILENO);
    ::execl(FIB_PYTHON, FIB_PYTHON, "-B",
            FIB_SOURCE_DIR "/tests/agents/proposers/llm/scripted_chat_server.py", file.c_str(),
            log.c_str(), nullptr);
    ::_exit(127);
  }
  ::close(to[0]);
  ::close(from[1]);
  stdin_ = to[1];
  char c = 0;
  while (::read(from[0], &c, 1) == 1 && c != '\n') port_ = 10 * port_ + (c - '0');
  ::close(from[0]);
  if (port_ == 0) throw std::runtime_error("the scripted server doesn't start");
}

ScriptedServer::~ScriptedServer() {
  ::close(stdin_);
  ::waitpid(process_, nullptr, 0);
}

std::string ScriptedServer::url() const {
  return scheme_ + "://127.0.0.1:" + std::to_string(port_) + "/v1";
}

std::vector<Json> ScriptedServer::requests() const {
  std::vector<Json> requests;
  std::ifstream log(folder_ / "log.jsonl");
  for (std::string line; std::getline(log, line);) requests.push_back(Json::parse(line));
  return requests;
}

LlmOptions options_for(const ScriptedServer& server, std::vector<double>* waits) {
  return {.url = server.url(),
          .model = "scripted-1",
          .key_name = "SOME_KEY",
          .prompts = FIB_SOURCE_DIR "/agents/prompts/v1",
          .abi = FIB_SOURCE_DIR "/harness/abi",
          .timeout_s = 60.0,
          .prices = {.prompt = 2.0, .answer = 10.0},
          .wait = [waits](double seconds, const std::function<bool()>&) {
            if (waits != nullptr) waits->push_back(seconds);
          }};
}

Json answer(const std::string& content) { return {{"content", content}}; }

}  // namespace fib::agents::testing
