#include "agents/proposers/exec.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <semaphore>

#include "agents/call_folder.h"
#include "agents/proposers/exec/document.h"
#include "agents/text.h"
#include "runners/worker/child_process.h"
#include "runners/worker/landlock.h"
#include "runners/worker/toolchain.h"
#include "signatures/base/file.h"

namespace fib::agents {

namespace {

namespace fs = std::filesystem;

constexpr double kPatience = 0.1;                 // s between two looks at whether to go on
constexpr size_t kLargestFile = size_t{1} << 30;  // that it may write
constexpr size_t kTailBytes = 1000;               // of stderr, in a refusal

// What programs that speak to a model over the network read of the system.
constexpr const char* kNetworkFiles[] = {
    "/etc/hosts",           "/etc/resolv.conf", "/etc/nsswitch.conf",
    "/etc/host.conf",       "/etc/gai.conf",    "/etc/services",
    "/etc/protocols",       "/etc/ssl",         "/etc/pki",
    "/etc/ca-certificates", "/etc/localtime",   "/etc/passwd",
    "/run/systemd/resolve"};

const std::string* variable(const ExecOptions& options, std::string_view name) {
  for (const auto& [key, value] : options.environment) {
    if (key == name) return &value;
  }
  return nullptr;
}

bool is_program(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored) && ::access(path.c_str(), X_OK) == 0;
}

Result<fs::path> locate(const ExecOptions& options) {
  if (options.program.find('/') != std::string::npos) {
    const fs::path path = fs::absolute(options.program);
    if (is_program(path)) return path;
    return fail(ErrorCode::kNotFound, "is no program", options.program,
                "name a file that may be executed");
  }
  const std::string* path = variable(options, "PATH");
  const std::string folders = path ? *path : std::string(kSystemSearchPath);
  for (size_t begin = 0; begin <= folders.size();) {
    const size_t end = std::min(folders.find(':', begin), folders.size());
    const fs::path candidate = fs::path(folders.substr(begin, end - begin)) / options.program;
    if (candidate.is_absolute() && is_program(candidate)) return candidate;
    begin = end + 1;
  }
  return fail(ErrorCode::kNotFound, fmt::format("no such program in {}", folders), options.program,
              "name its path");
}

// Where a program and what it needs lie: its folder and, as languages install themselves, what is
// beside a `bin`. Never all of what is there: beside ~/bin lies a home.
void add_installation(const fs::path& program, std::vector<fs::path>& readable) {
  const fs::path folder = program.parent_path();
  readable.push_back(folder);
  if (folder.filename() != "bin") return;
  for (const char* name : {"lib", "lib64", "libexec", "pyvenv.cfg"}) {
    readable.push_back(folder.parent_path() / name);
  }
}

// For programs that weren't made for such a place, by what they say of it.
std::string advice_on(std::string_view errors) {
  std::string advice;
  if (errors.find("ermission denied") != std::string_view::npos && landlock_abi() > 0) {
    advice += "; it may read the system's folders, its own and what --exec-readable names";
  }
  if (errors.find("o such file") != std::string_view::npos) {
    advice += "; it begins in an empty folder, where files need their whole path";
  }
  return advice;
}

// As a program's last words: the end, from the beginning of a line where there is one.
std::string tail_of(std::string_view text) {
  if (text.size() > kTailBytes) {
    text.remove_prefix(text.size() - kTailBytes);
    const size_t line = text.find('\n');
    if (line + 1 < text.size()) text.remove_prefix(line + 1);
  }
  return std::string(text);
}

struct Call {
  enum class End { kAnswered, kCrashed, kTimedOut, kTooLong, kCancelled } end = End::kAnswered;
  std::string how;  // it ended, where it crashed
  std::string output, errors;
};

// Taken by each call, so that no more than so many run.
class Turn {
 public:
  Turn(std::counting_semaphore<>& free, const std::function<bool()>& cancelled) : free_(free) {
    do {
      is_ours_ = free_.try_acquire_for(std::chrono::duration<double>(kPatience));
    } while (!is_ours_ && !cancelled());
  }
  ~Turn() {
    if (is_ours_) free_.release();
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  bool is_ours() const { return is_ours_; }

 private:
  std::counting_semaphore<>& free_;
  bool is_ours_ = false;
};

class ExecProposer final : public Proposer {
 public:
  ExecProposer(ExecOptions options, fs::path program)
      : options_(std::move(options)),
        program_(std::move(program)),
        free_(std::max(1, options_.parallel)) {}

  std::string_view name() const override { return "exec"; }

  bool suits(const Solution& parent) const override { return parent.fib.is_object(); }

  Result<ProposalOutcome> propose(const ProposalRequest& request) override {
    const Turn turn(free_, request.cancelled);
    if (!turn.is_ours()) {
      ProposalOutcome outcome;
      outcome.refusal = Refusal{"cancelled", "the run was stopped before the program was asked"};
      return outcome;
    }
    const std::string document = dump_json_pretty(request_document(
        request, {.abi = options_.abi, .others = options_.others, .tried = options_.tried}));
    const auto begin = std::chrono::steady_clock::now();
    const Call call = FIB_TRY(run(document, request.cancelled));
    ProposalOutcome outcome = outcome_of(call, request.parent.solution);
    outcome.cost.seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    outcome.exchanges.push_back({"stdin", document});
    outcome.exchanges.push_back({"stdout", call.output});
    if (!call.errors.empty()) outcome.exchanges.push_back({"stderr", call.errors});
    return outcome;
  }

 private:
  Result<Call> run(const std::string& document, const std::function<bool()>& cancelled) const {
    // Two folders, so that the program's own is empty.
    const CallFolder input = FIB_TRY(CallFolder::make(options_.scratch));
    const CallFolder folder = FIB_TRY(CallFolder::make(options_.scratch));
    const fs::path request_file = input.path() / "request.json";
    FIB_CHECK(write_file_atomically(request_file, document));
    const FileDescriptor request(::open(request_file.c_str(), O_RDONLY | O_CLOEXEC));
    if (!request.valid()) return fail(ErrorCode::kIo, "can't be read", request_file.string());

    const FileDescriptor ruleset = FIB_TRY(confine(folder.path()));
    auto started = ChildProcess::start(
        {.executable = program_,
         .arguments = options_.arguments,
         .environment = environment_in(folder.path()),
         .working_folder = folder.path(),
         .landlock_ruleset = ruleset.get(),
         .input_fd = request.get(),
         .errors = ChildOptions::Errors::kApart,
         .limits = {.address_space_bytes = options_.memory_bytes, .file_bytes = kLargestFile},
         .max_output_bytes = options_.max_answer_bytes});
    if (!started) {
      Error error = std::move(started).error();
      error.remedy =
          "a script's interpreter lies in the system's folders, the program's own, or "
          "one that --exec-readable names";
      return fail(std::move(error));
    }
    const std::unique_ptr<ChildProcess> child = *std::move(started);
    Call call{.end = wait(*child, cancelled)};
    child->kill();
    const WorkerExit exit = child->wait();
    if (call.end == Call::End::kAnswered) {
      if (child->has_lost_output()) {
        call.end = Call::End::kTooLong;
      } else if (exit.signal != 0 || exit.code != 0) {
        call.end = Call::End::kCrashed;
        call.how = exit.describe();
      }
    }
    call.output = child->output();
    call.errors = child->errors();
    return call;
  }

  // Until it ends by itself, or there is no more use in waiting.
  Call::End wait(ChildProcess& child, const std::function<bool()>& cancelled) const {
    const Deadline deadline = deadline_in(options_.timeout_s);
    while (!child.wait_until(std::min(deadline, deadline_in(kPatience)))) {
      if (cancelled()) return Call::End::kCancelled;
      if (child.has_lost_output()) return Call::End::kTooLong;
      if (std::chrono::steady_clock::now() >= deadline) return Call::End::kTimedOut;
    }
    return Call::End::kAnswered;
  }

  Result<FileDescriptor> confine(const fs::path& folder) const {
    if (landlock_abi() == 0) return FileDescriptor();
    AllowedPaths allowed{.readable = system_folders(), .writable = options_.writable};
    allowed.writable.insert(allowed.writable.end(), {folder, "/dev/null"});
    if (!options_.home.empty()) allowed.writable.push_back(options_.home);
    if (options_.network == ExecOptions::Network::kAllowed) {
      allowed.tcp = AllowedPaths::Tcp::kAllowed;
      for (const char* file : kNetworkFiles) allowed.readable.push_back(file);
    }
    std::error_code ignored;
    add_installation(program_, allowed.readable);
    add_installation(fs::weakly_canonical(program_, ignored), allowed.readable);  // of a link
    if (!options_.abi.empty()) allowed.readable.push_back(options_.abi);
    std::ranges::copy(options_.readable, std::back_inserter(allowed.readable));
    return landlock_ruleset(allowed);
  }

  std::vector<std::pair<std::string, std::string>> environment_in(const fs::path& folder) const {
    auto environment = options_.environment;
    std::erase_if(environment, [](const auto& variable) {
      return variable.first == "HOME" || variable.first == "TMPDIR";
    });
    environment.emplace_back("HOME", (options_.home.empty() ? folder : options_.home).string());
    environment.emplace_back("TMPDIR", folder.string());
    if (!variable(options_, "PATH")) environment.emplace_back("PATH", kSystemSearchPath);
    return environment;
  }

  ProposalOutcome outcome_of(const Call& call, const Solution& parent) const {
    const auto refused = [](std::string reason, std::string message) {
      ProposalOutcome outcome;
      outcome.refusal = Refusal{std::move(reason), std::move(message)};
      return outcome;
    };
    switch (call.end) {
      case Call::End::kAnswered: return read_answer(call.output, parent);
      case Call::End::kCancelled:
        return refused("cancelled", "the run was stopped while the program was asked");
      case Call::End::kTimedOut:
        return refused("timeout",
                       fmt::format("no answer after {:g} s (--exec-timeout)", options_.timeout_s));
      case Call::End::kTooLong:
        return refused("malformed",
                       fmt::format("the answer has more than {}",
                                   bytes_in_words(static_cast<double>(options_.max_answer_bytes))));
      case Call::End::kCrashed: break;
    }
    const std::string last_words = tail_of(call.errors);
    return refused("crash", last_words.empty() ? call.how
                                               : fmt::format("{}{}; it printed:\n{}", call.how,
                                                             advice_on(call.errors), last_words));
  }

  const ExecOptions options_;
  const fs::path program_;
  std::counting_semaphore<> free_;
};

}  // namespace

Result<std::vector<std::string>> split_command(std::string_view command) {
  std::vector<std::string> words;
  bool is_in_word = false;
  char quote = 0;
  for (size_t i = 0; i < command.size(); ++i) {
    const char c = command[i];
    const bool is_blank = c == ' ' || c == '\t' || c == '\n';
    if (quote == 0 && is_blank) {
      is_in_word = false;
      continue;
    }
    if (!is_in_word) words.emplace_back();
    is_in_word = true;
    if (quote == 0 && (c == '\'' || c == '"')) {
      quote = c;
    } else if (c == quote) {
      quote = 0;
    } else if (c == '\\' && quote != '\'' && i + 1 < command.size()) {
      words.back().push_back(command[++i]);
    } else {
      words.back().push_back(c);
    }
  }
  if (quote != 0) {
    return fail(ErrorCode::kInvalidInput, fmt::format("a {} without its end", quote),
                std::string(command), "close it");
  }
  if (words.empty()) {
    return fail(ErrorCode::kInvalidInput, "names no program", std::string(command),
                "as PROGRAM ARG...");
  }
  return words;
}

Result<std::unique_ptr<Proposer>> make_exec_proposer(ExecOptions options) {
  constexpr int kFirstAbiWithTcp = 4;
  if (options.network == ExecOptions::Network::kRefused && landlock_abi() < kFirstAbiWithTcp) {
    return fail(ErrorCode::kUnsupported, "this kernel can't refuse a program the network", "exec",
                "use Linux 6.7 or later with Landlock, or allow it");
  }
  fs::path program = FIB_TRY(locate(options));
  return std::make_unique<ExecProposer>(std::move(options), std::move(program));
}

}  // namespace fib::agents
