#include "agents/mcp/revisions.h"

#include <algorithm>

namespace fib::mcp {

bool is_session_version(std::string_view version) {
  return std::ranges::find(kSessionVersions, version) != kSessionVersions.end();
}

Json supported_versions() {
  Json versions = Json::array({kStatelessVersion});
  for (const char* version : kSessionVersions) versions.push_back(version);
  return versions;
}

RpcError unsupported_version(const Json& requested) {
  return {.code = RpcCode::kUnsupportedProtocolVersion,
          .message = "Unsupported protocol version",
          .data = {{"supported", supported_versions()}, {"requested", requested}}};
}

const Json* find_meta(const Json& params) {
  const auto meta = params.find("_meta");
  return meta != params.end() && meta->is_object() ? &*meta : nullptr;
}

Era era_of(const RpcMessage& message) {
  const Json* meta = find_meta(message.params);
  return meta != nullptr && meta->contains(kVersionKey) ? Era::kStateless : Era::kSession;
}

}  // namespace fib::mcp
