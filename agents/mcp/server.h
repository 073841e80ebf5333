#pragma once

// A Model Context Protocol server that offers tools, without a transport: messages come in through
// receive(), with a way back for what they bring about.
//
// Two eras of the protocol are served side by side, as its revision 2026-07-28 describes for
// "dual-era" servers: a request whose `_meta` names a protocol version stands for itself, and any
// other belongs to the session that `initialize` opens (2025-11-25 and 2025-06-18).

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agents/mcp/call_queue.h"
#include "agents/mcp/conversation.h"
#include "agents/mcp/json_rpc.h"
#include "agents/mcp/tool.h"

namespace fib::mcp {

struct ServerDescription {
  std::string name, title, version;
  std::string instructions;  // how the tools belong together, for the model that uses them
};

class Server {
 public:
  Server(ServerDescription description, std::vector<Tool> tools);
  ~Server();

  // One message. From any thread; returns without waiting for slow tools.
  void receive(const std::shared_ptr<Conversation>& conversation, std::string_view text,
               const Send& send);
  void receive(const std::shared_ptr<Conversation>& conversation, const RpcMessage& message,
               const Send& send);
  // The client is gone: what it waits for is dropped, what runs is interrupted.
  void cancel_all(Conversation& conversation);
  // Interrupts what runs, answers no slow call any more, and returns once it has ended.
  void abandon();

 private:
  void answer(const std::shared_ptr<Conversation>& conversation, const RpcMessage& message,
              const Send& send);
  std::optional<RpcError> refusal_of(const Conversation& conversation, const RpcMessage& message,
                                     Era era) const;
  std::optional<RpcError> call_tool(const std::shared_ptr<Conversation>& conversation,
                                    const RpcMessage& message, Era era, const Send& send);
  Json list_tools(Era era) const;
  Json initialize(const Json& params) const;
  Json discover() const;
  Json complete(Json result, Era era) const;
  Json tool_answer(const Call& call) const;  // the whole message
  Json tool_result(const Call& call) const;
  Json capabilities() const;
  Json server_info() const;
  void run(Call& call);

  const ServerDescription description_;
  const std::vector<Tool> tools_;
  std::mutex quick_mutex_;  // tools of one pace never run side by side
  CallQueue queue_;
};

// A message that a transport didn't take in: too long to be one.
Json oversized_message(size_t limit_bytes);

}  // namespace fib::mcp
