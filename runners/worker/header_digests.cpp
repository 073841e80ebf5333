#include "runners/worker/header_digests.h"

#include <fmt/format.h>

#include <algorithm>

#include "signatures/base/file.h"
#include "signatures/base/hash.h"

namespace fib {
namespace {

namespace fs = std::filesystem;

constexpr size_t kDigits = 8;
constexpr std::string_view kOwn = "fib/";

bool is_for(std::string_view header, std::string_view target) {
  if (header.starts_with("fib/cpu/") || header == "fib/cpu.h") return target == "cpu";
  if (header.starts_with("fib/device/") || header.starts_with("fib/plan")) return target == "cuda";
  return true;
}

std::string_view without_spaces(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  return first == std::string_view::npos ? std::string_view() : text.substr(first);
}

// "fib/cpu.h" of `#include <fib/cpu.h>`; "": the line includes nothing of fib's.
std::string_view own_header_of(std::string_view line) {
  for (const std::string_view word : {"#", "include"}) {
    line = without_spaces(line);
    if (!line.starts_with(word)) return {};
    line.remove_prefix(word.size());
  }
  line = without_spaces(line);
  if (line.empty() || (line.front() != '<' && line.front() != '"')) return {};
  line.remove_prefix(1);
  const std::string_view name = line.substr(0, line.find_first_of(">\""));
  return name.starts_with(kOwn) ? name : std::string_view();
}

void add_own_headers(std::string_view code, std::vector<std::string>& headers) {
  for (size_t start = 0; start < code.size();) {
    const size_t end = std::min(code.find('\n', start), code.size());
    const std::string_view header = own_header_of(code.substr(start, end - start));
    if (!header.empty()) headers.emplace_back(header);
    start = end + 1;
  }
}

}  // namespace

Result<HeaderDigests> header_digests(const fs::path& abi, std::string_view target) {
  HeaderDigests digests;
  std::error_code failed;
  for (fs::recursive_directory_iterator it(abi / "fib", failed), end; !failed && it != end;
       it.increment(failed)) {
    const std::string name = it->path().lexically_relative(abi).string();
    if (it->is_directory() || !is_for(name, target)) continue;
    digests[name] = sha256_hex(FIB_TRY(read_file(it->path()))).substr(0, kDigits);
  }
  if (failed) return fail(ErrorCode::kIo, failed.message(), abi.string());
  return digests;
}

std::string header_digests_text(const HeaderDigests& digests) {
  std::string text;
  for (const auto& [name, digest] : digests) {
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", name, digest);
  }
  return text;
}

HeaderDigests parse_header_digests(std::string_view text) {
  HeaderDigests digests;
  while (!text.empty()) {
    const std::string_view entry = text.substr(0, text.find(", "));
    text.remove_prefix(std::min(entry.size() + 2, text.size()));
    const size_t space = entry.find(' ');
    if (space == std::string_view::npos) continue;
    digests.emplace(entry.substr(0, space), entry.substr(space + 1));
  }
  return digests;
}

Result<std::set<std::string>> included_headers(const Solution& solution, const fs::path& abi) {
  std::vector<std::string> to_read;
  for (const SourceFile& source : solution.sources) add_own_headers(source.content, to_read);
  std::set<std::string> included;
  while (!to_read.empty()) {
    const std::string name = std::move(to_read.back());
    to_read.pop_back();
    if (!included.insert(name).second) continue;
    // One that is gone, or is only named in a comment, includes nothing.
    std::error_code missing;
    if (!is_safe_relative_path(name) || !fs::is_regular_file(abi / name, missing)) continue;
    add_own_headers(FIB_TRY(read_file(abi / name)), to_read);
  }
  return included;
}

}  // namespace fib
