#pragma once

// Where the documents of a FlashInfer-Trace dataset lie.

#include <filesystem>
#include <string>
#include <string_view>

namespace fib {

struct DatasetLayout {
  std::filesystem::path root;

  std::filesystem::path definition(std::string_view op_type, std::string_view name) const {
    return root / "definitions" / op_type / (std::string(name) + ".json");
  }
  std::filesystem::path workloads(std::string_view op_type, std::string_view definition) const {
    return root / "workloads" / op_type / (std::string(definition) + ".jsonl");
  }
  std::filesystem::path solution(std::string_view author, std::string_view op_type,
                                 std::string_view definition, std::string_view name) const {
    return root / "solutions" / author / op_type / definition / (std::string(name) + ".json");
  }
  std::filesystem::path traces(std::string_view author, std::string_view op_type,
                               std::string_view definition) const {
    return root / "traces" / author / op_type / (std::string(definition) + ".jsonl");
  }
};

}  // namespace fib
