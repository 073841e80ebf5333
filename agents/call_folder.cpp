#include "agents/call_folder.h"

#include <cstdlib>
#include <string>

namespace fib::agents {

Result<CallFolder> CallFolder::make(const std::filesystem::path& below) {
  std::error_code code;
  std::filesystem::create_directories(below, code);
  std::string name = (below / "call-XXXXXX").string();
  if (code || ::mkdtemp(name.data()) == nullptr) {
    return fail(ErrorCode::kIo, "can't make a folder", below.string(),
                "name a writable place with --cache");
  }
  return CallFolder(name);
}

CallFolder::~CallFolder() {
  std::error_code ignored;
  if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}

}  // namespace fib::agents
