#pragma once

// Runs the real binary as a user would, in a folder of its own.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "signatures/base/json.h"
#include "tests/scratch_folder.h"

namespace fib::testing {

struct Finished {
  int code = 0;  // exit code; 128 + signal if it was killed
  std::string out, err;
};

class FibUser : public ::testing::Test {
 protected:
  // Starts `fib ARGUMENTS` in the folder, with nothing of the tester's environment but PATH and a
  // cache that the tests of one build share.
  pid_t start(const std::vector<std::string>& arguments) {
    // What the command before this one printed must not pass for this one's.
    for (const char* stream : {"stdout", "stderr"}) std::filesystem::remove(folder_ / stream);
    const pid_t child = ::fork();
    if (child != 0) return child;
    if (::chdir(folder_.c_str()) != 0) ::_exit(126);
    const int out = ::open("stdout", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    const int err = ::open("stderr", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ::dup2(out, STDOUT_FILENO);
    ::dup2(err, STDERR_FILENO);
    std::vector<std::string> words = {FIB_BINARY_DIR "/fib"};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    std::vector<std::string> variables = {std::string("PATH=") + ::getenv("PATH"),
                                          "XDG_CACHE_HOME=" FIB_BINARY_DIR "/tests/cache"};
    variables.insert(variables.end(), environment_.begin(), environment_.end());
    std::vector<char*> envp;
    for (std::string& variable : variables) envp.push_back(variable.data());
    envp.push_back(nullptr);
    ::execve(argv[0], argv.data(), envp.data());
    ::_exit(127);
  }

  Finished finish(pid_t child) {
    int status = 0;
    ::waitpid(child, &status, 0);
    return {.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
            .out = read("stdout"),
            .err = read("stderr")};
  }

  Finished fib(const std::vector<std::string>& arguments) { return finish(start(arguments)); }

  Json fib_json(std::vector<std::string> arguments, int code = 0) {
    arguments.push_back("--json");
    const Finished finished = fib(arguments);
    EXPECT_EQ(finished.code, code) << finished.out << finished.err;
    auto json = parse_json(finished.out, "stdout");
    if (!json) {
      ADD_FAILURE() << json.error().to_string() << "\n" << finished.out;
      return {};
    }
    return *std::move(json);
  }

  // One document a line.
  std::vector<Json> fib_json_lines(std::vector<std::string> arguments, int code = 0) {
    arguments.push_back("--json");
    const Finished finished = fib(arguments);
    EXPECT_EQ(finished.code, code) << finished.out << finished.err;
    std::vector<Json> documents;
    std::istringstream lines(finished.out);
    for (std::string line; std::getline(lines, line);) {
      auto json = parse_json(line, "stdout");
      if (!json) {
        ADD_FAILURE() << json.error().to_string() << "\n" << line;
        return documents;
      }
      documents.push_back(*std::move(json));
    }
    return documents;
  }

  std::string read(const std::string& name) const {
    std::ifstream file(folder_ / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void write(const std::string& name, const std::string& content) const {
    std::filesystem::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name, std::ios::binary) << content;
  }

  ScratchFolder scratch_;
  const std::filesystem::path folder_ = scratch_.path();
  std::vector<std::string> environment_;  // further "NAME=VALUE"
};

}  // namespace fib::testing
