#pragma once

// The protocol's revisions that we speak, of two eras: in the older one a client opens a session
// with `initialize`; in the newer one each request names the revision and stands for itself.

#include <array>
#include <string_view>

#include "agents/mcp/json_rpc.h"

namespace fib::mcp {

enum class Era { kSession, kStateless };

inline constexpr const char* kStatelessVersion = "2026-07-28";
// The newest first. What of the protocol we use is the same in both.
inline constexpr std::array kSessionVersions = {"2025-11-25", "2025-06-18"};

inline constexpr const char* kVersionKey = "io.modelcontextprotocol/protocolVersion";
inline constexpr const char* kCapabilitiesKey = "io.modelcontextprotocol/clientCapabilities";
inline constexpr const char* kServerInfoKey = "io.modelcontextprotocol/serverInfo";

bool is_session_version(std::string_view version);
Json supported_versions();
RpcError unsupported_version(const Json& requested);

// The object `_meta`; nullptr: there is none.
const Json* find_meta(const Json& params);
// A request whose `_meta` names a revision, whichever, stands for itself.
Era era_of(const RpcMessage& message);

}  // namespace fib::mcp
