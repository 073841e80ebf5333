#pragma once

// What the tests of packages share: specifications of house solutions, the options of this build,
// and programs run as a user would.

#include <sys/wait.h>

#include <array>
#include <cstdio>

#include "integrations/package/export/build_package.h"
#include "integrations/package/export/house_spec.h"
#include "signatures/base/file.h"
#include "tests/integrations/package/package_fixture.h"

namespace fib {

inline PackageBuildOptions package_options() {
  const HouseDispatchOptions house = house_options();
  return {.abi = house.abi,
          .c_header = kSource / "integrations/package/include/fib_kernels.h",
          .table_header = kSource,
          .runtime_archive = FIB_RUNTIME_ARCHIVE,
          .device_sources = house.device_sources,
          .cache_folder = house.cache_folder,
          .worker_executable = house.worker_executable,
          .threads = 2,
          .fib_version = "0.0.0-test"};
}

inline const HouseSolutions& house(const std::string& target) {
  static const std::map<std::string, HouseSolutions> houses = [] {
    std::map<std::string, HouseSolutions> read;
    for (const char* name : {"cpu", "cuda"}) {
      read.emplace(name, must(HouseSolutions::read(house_options().solutions, name)));
    }
    return read;
  }();
  return houses.at(target);
}

// A package of the house's cpu solutions for this machine.
inline PackageSpec cpu_spec(const std::vector<SignatureRequest>& requests) {
  PackageSpec spec = must(house_package_spec(requests, catalog(), house("cpu")));
  spec.version = "2026.11.22";
  spec.cpu_levels = {"native"};
  return spec;
}

// A cpu solution of one file for the signature.
inline Solution cpu_solution(const std::string& name, const std::string& signature,
                             const std::string& code) {
  return {.name = name,
          .definition = signature,
          .author = "test",
          .language = SolutionLanguage::kCpp,
          .target_hardware = {"cpu"},
          .entry_point = "solution.cpp::fib_run",
          .sources = {{"solution.cpp", code}},
          .fib = {{"target", "cpu"}, {"entry", "solution.cpp"}, {"license", "MIT"}}};
}

// A package of one signature that one solution serves.
inline PackageSpec spec_of(const Solution& solution, const std::string& signature) {
  PackageSpec spec{.version = "1", .cpu_levels = {"native"}};
  PackagedSignature packaged{
      .signature = must(catalog().find(signature)), .solutions = {solution}, .cpu_fallback = {0}};
  for (const auto& [name, value] : packaged.signature->fib.parameters) {
    packaged.own_parameters.push_back(value);
  }
  spec.signatures.push_back(std::move(packaged));
  return spec;
}

struct Finished {
  int code = 0;
  std::string output;  // of both streams
};

// A shell's command line.
inline Finished run(const std::string& command) {
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) throw std::runtime_error("no shell");
  Finished finished;
  std::array<char, 4096> buffer;
  while (const size_t bytes = std::fread(buffer.data(), 1, buffer.size(), pipe)) {
    finished.output.append(buffer.data(), bytes);
  }
  const int status = ::pclose(pipe);
  finished.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return finished;
}

}  // namespace fib
