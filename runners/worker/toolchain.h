#pragma once

// The machine's C++ compiler, and candidates' sources run through it: confined to their own files
// and the system's, bounded in time, memory and output.

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "signatures/base/result.h"

namespace fib {

struct Toolchain {
  std::filesystem::path compiler;        // absolute
  std::string version;                   // "g++ (Debian 12.2.0-14) 12.2.0": part of build keys
  std::filesystem::path include_folder;  // harness/abi; the caller fills it in
  std::vector<std::string> flags;        // for every compile; the caller fills them in
};

inline constexpr std::string_view kSystemSearchPath = "/usr/local/bin:/usr/bin:/bin";

// `compiler` (a path, or a name to search), or when empty the first of g++, clang++ and c++.
// kEnvironment with the remedy when there is none or it doesn't run.
Result<Toolchain> find_host_compiler(const std::filesystem::path& compiler = {},
                                     std::string_view search_path = kSystemSearchPath);

struct CompileRequest {
  const Toolchain& toolchain;
  std::filesystem::path source_folder;  // absolute; the only place of the author's files
  std::vector<std::string> sources;     // relative to it
  std::vector<std::pair<std::string, std::string>> definitions;  // -Dname=value
  std::vector<std::string> flags;  // after the toolchain's, as "-march=native"
  std::filesystem::path output;    // absolute; the compiler may write only in its folder
  double timeout_s = 120.0;
  size_t memory_bytes = size_t{8} << 30;  // address space of each of its processes
};

struct CompileOutcome {
  bool ok = false;
  bool timed_out = false;
  std::string log;  // at most 64 KiB, with the author's file names: "kernel.cpp:12:5: error: "
  double ms = 0.0;
};

// C++20, -fPIC -shared. An Error only if the compiler can't be started.
Result<CompileOutcome> compile_shared_object(const CompileRequest& request);

// One relocatable object of all the sources, whose inline functions are its own: they stand in no
// COMDAT group, so that a linker doesn't take another object's function of the same name for them.
Result<CompileOutcome> compile_object(const CompileRequest& request);

// Any program of the toolchain, bounded the same way: the compiler as a linker, objcopy.
struct ToolRequest {
  const Toolchain& toolchain;
  std::filesystem::path program;  // absolute
  std::vector<std::string> arguments;
  std::filesystem::path working_folder;         // absolute; readable
  std::vector<std::filesystem::path> readable;  // files and folders besides the system's
  std::filesystem::path output_folder;          // absolute; it may write only there
  double timeout_s = 120.0;
  size_t memory_bytes = size_t{8} << 30;
};
// An Error only if the program can't be started. The log is as the program wrote it.
Result<CompileOutcome> run_tool(const ToolRequest& request);

// "objcopy", "ar": beside the compiler, or on the system's path. kEnvironment if there is none.
Result<std::filesystem::path> find_tool(const Toolchain& toolchain, std::string_view name);

}  // namespace fib
