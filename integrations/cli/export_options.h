#pragma once

// What `fib export` is asked for, and its two formats.

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "integrations/cli/context.h"
#include "integrations/package/export/winners.h"

namespace fib {

class Store;

struct ExportArgs {
  std::filesystem::path folder;  // empty: only explained
  std::string format = "package";
  std::vector<std::string> signatures, hardware;
  std::string model;
  // Selection.
  std::string policy = "confirmed";
  double min_gain = WinnerOptions{}.min_gain;
  std::vector<std::string> only;
  bool is_house = false;
  bool is_explained = false;
  // A package.
  std::string name, version;  // empty: the usual name, a version made of what is in it
  std::vector<std::string> architectures, cpu_levels;
  bool has_archive = false, has_wheel = false;
  // A dataset.
  bool is_all = false;
  bool is_winners = false;
};

// Who is exported, a signature each, and what it is built for.
struct ExportSelection {
  std::vector<Winners> winners;
  std::vector<std::string> architectures, cpu_levels;
  std::vector<std::string> notes;  // what was left out
  std::string origin;              // "fib.db: policy confirmed, ..."

  size_t buckets_measured() const, buckets_won() const;
};
// `store` may be null where nothing but the house's solutions is asked for.
Result<ExportSelection> select_for_export(const Context& context, const ExportArgs& args,
                                          const Store* store);
// The store, opened, or null as above. kNotFound: there is none.
Result<std::unique_ptr<Store>> open_export_store(const Context& context, const ExportArgs& args);

// Why each bucket got what it got.
void print_explanations(const Context& context, const ExportSelection& selection);
Json explanations_to_json(const ExportSelection& selection);

Result<int> export_package(const Context& context, const ExportArgs& args);
Result<int> export_dataset(const Context& context, const ExportArgs& args);

}  // namespace fib
