#pragma once

// The proposer that asks a program: any executable that reads a JSON document on stdin and answers
// with one on stdout. docs/agents.md describes both; agents/examples/coding_agent_proposer.py is
// one that lets a command-line coding agent edit the files.
//
// Each call is a process of its own: in an empty folder, with `home` and `writable` the only places
// it may write to, with bounded time, memory and output; what it leaves running ends with it.

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "agents/proposers/proposer.h"

namespace fib::agents {

struct ExecOptions {
  std::string program;  // a path, or a name to search on the PATH of `environment`
  std::vector<std::string> arguments;
  // The whole of it, but for TMPDIR, which is the call's folder, and HOME.
  std::vector<std::pair<std::string, std::string>> environment;
  std::filesystem::path scratch;  // where the calls' folders are made
  std::filesystem::path abi;      // harness/abi: told to the program, which may read it; or empty
  std::filesystem::path home;     // HOME, of all calls; empty: the call's folder
  // Besides the system's folders, the program's own (with lib beside bin), the calls' and `home`:
  // for interpreters, keys, configurations elsewhere. Enforced where the kernel has Landlock
  // (`fib doctor`).
  std::vector<std::filesystem::path> readable, writable;
  enum class Network { kAllowed, kRefused } network = Network::kAllowed;  // TCP
  int parallel = 4;                                                       // calls at a time
  double timeout_s = 600.0;                                               // of a call
  size_t memory_bytes = size_t{64} << 30;  // address space of each of its processes
  size_t max_answer_bytes = size_t{4} << 20;
  size_t others = 3;  // how many of the others are shown with their files
  size_t tried = 32;  // how many of the parent's last children are told
};

// "PROGRAM ARG...", as a shell would split it: blanks, quotes and backslashes, nothing else. Error:
// a quote without its end, no word at all.
Result<std::vector<std::string>> split_command(std::string_view command);

// Errors: no such program; a network that this kernel can't refuse.
Result<std::unique_ptr<Proposer>> make_exec_proposer(ExecOptions options);

}  // namespace fib::agents
