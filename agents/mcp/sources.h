#pragma once

// Solutions as a client gives them: files in the call, a folder below the server's root, or a name.

#include <filesystem>

#include "agents/mcp/workbench.h"

namespace fib::mcp {

struct Folders {
  std::filesystem::path root;  // what `folder` arguments are relative to; empty: they are refused
  std::filesystem::path
      scratch;  // made where it isn't; files of a call lie there while they are read
};

// The properties `files`, `folder` and `solution` of an input schema.
Json candidate_schema();

// The one of `files`, `folder` and `solution` that is given.
Result<Solution> read_candidate(const Json& arguments, const Folders& folders,
                                Workbench& workbench);

// A folder below the root, also where links lead, whether it exists or not.
Result<std::filesystem::path> folder_below_root(const std::string& folder, const Folders& folders);

// Writes files whose paths are safe into a folder that is empty or isn't there.
Result<void> write_files(const std::vector<SourceFile>& files, const std::filesystem::path& folder);

}  // namespace fib::mcp
