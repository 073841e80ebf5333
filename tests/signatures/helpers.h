#pragma once

// What the tests of signatures/ share.

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <sstream>
#include <string>
#include <string_view>

#include "signatures/base/json.h"
#include "signatures/base/result.h"

namespace fib {

inline std::filesystem::path source_folder() { return FIB_SOURCE_DIR; }
inline std::filesystem::path definitions_folder() {
  return source_folder() / "signatures/definitions";
}

inline std::string read_text(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  EXPECT_TRUE(stream) << file;
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}
inline std::string read_fixture(const std::string& name) {
  return read_text(source_folder() / "tests/signatures/fixtures" / name);
}
inline Json fixture(const std::string& name) { return Json::parse(read_fixture(name)); }

// The error there is has all these parts in its text.
template <class T>
void expect_error(const Result<T>& result, std::initializer_list<std::string_view> parts) {
  ASSERT_FALSE(result) << "no error, but one was expected about " << *parts.begin();
  const std::string text = result.error().to_string();
  for (const std::string_view part : parts) {
    EXPECT_NE(text.find(part), std::string::npos) << "'" << part << "' is not in: " << text;
  }
}

// A folder that is gone at the end of the test.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "fib_test_XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }

  const std::filesystem::path& path() const { return path_; }
  void write(const std::string& name, std::string_view content) const {
    std::filesystem::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name, std::ios::binary) << content;
  }

 private:
  std::filesystem::path path_;
};

}  // namespace fib
