#pragma once

// A Model Context Protocol server that offers tools, without a transport: texts come in through
// receive(), messages go out through `send`.
//
// Two eras of the protocol are served side by side, as its revision 2026-07-28 describes for
// "dual-era" servers: a request whose `_meta` names a protocol version stands for itself, and any
// other belongs to the session that `initialize` opens (2025-11-25 and 2025-06-18).

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "agents/mcp/json_rpc.h"
#include "agents/mcp/tool.h"

namespace fib::mcp {

struct ServerDescription {
  std::string name, title, version;
  std::string instructions;  // how the tools belong together, for the model that uses them
};

class Server {
 public:
  // From any thread, one at a time; must not call back.
  using Send = std::function<void(const Json& message)>;

  Server(ServerDescription description, std::vector<Tool> tools, Send send);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // One message, from one thread. Returns without waiting for slow tools.
  void receive(std::string_view text);
  // A message that the transport didn't take in: too long to be one.
  void refuse_oversized(size_t limit_bytes);
  // The client is gone: interrupts what runs, answers nothing more, and returns once it has ended.
  void abandon();

 private:
  enum class Era { kSession, kStateless };
  struct Call;  // a slow tool's, queued or running

  void answer(const RpcMessage& message);
  std::optional<RpcError> refusal_of(const RpcMessage& message, Era era) const;
  void call_tool(const RpcMessage& message, Era era);
  void cancel(const Json& params);
  Json initialize(const Json& params);
  Json complete(Json result, Era era) const;
  Json tool_answer(const Call& call);  // the whole message
  Json tool_result(const Call& call);
  Json capabilities() const;
  Json server_info() const;
  void work();
  void send(const Json& message);

  const ServerDescription description_;
  const std::vector<Tool> tools_;
  const Send send_;
  bool is_initialized_ = false;

  std::mutex send_mutex_;
  std::mutex mutex_;  // of everything below
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Call>> queue_;
  std::map<std::string, std::shared_ptr<Call>> in_flight_;  // by id, as JSON text
  bool is_ending_ = false;
  std::thread worker_;
};

}  // namespace fib::mcp
