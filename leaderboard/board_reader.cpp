#include "leaderboard/board_reader.h"

#include <algorithm>
#include <array>
#include <unordered_map>

namespace fib {

namespace {

using Texts = std::unordered_map<int64_t, std::string>;

// Two columns, id and text.
Result<Texts> read_texts(const Database& database, std::string_view sql) {
  Statement rows = FIB_TRY(database.prepare(sql));
  Texts texts;
  while (FIB_TRY(rows.step())) texts.emplace(rows.integer(0), rows.text(1));
  return texts;
}

// The small tables that `latest` points into, read once.
struct Names {
  Texts signatures, hardware, configurations, solutions, authors, keys;
  std::unordered_map<int64_t, BoardWorkload> workloads;
};

Result<Names> read_names(const Database& database) {
  Names names;
  names.signatures = FIB_TRY(read_texts(database, "SELECT id, name FROM signatures"));
  names.hardware = FIB_TRY(read_texts(database, "SELECT id, key FROM hardware"));
  names.configurations = FIB_TRY(read_texts(database, "SELECT id, key FROM configurations"));
  names.solutions = FIB_TRY(read_texts(database, "SELECT id, name FROM solutions"));
  names.authors = FIB_TRY(read_texts(database, "SELECT id, author FROM solutions"));
  names.keys = FIB_TRY(read_texts(database, "SELECT id, key FROM solutions"));
  Statement rows = FIB_TRY(database.prepare("SELECT id, workload, weight FROM workloads"));
  while (FIB_TRY(rows.step())) {
    names.workloads.emplace(rows.integer(0),
                            BoardWorkload{std::string(rows.text(1)), rows.number(2)});
  }
  return names;
}

// Fills one board from rows that come sorted by solution.
class BoardBuilder {
 public:
  BoardBuilder(const Names& names, const std::array<int64_t, 3>& ids) : names_(names) {
    input_.signature = names.signatures.at(ids[0]);
    input_.hardware = names.hardware.at(ids[1]);
    input_.config_key = names.configurations.at(ids[2]);
  }

  void add(int64_t solution_id, int64_t workload_id, int64_t verdict_id, Standing standing) {
    if (input_.entries.empty() || solution_id != solution_id_) {
      solution_id_ = solution_id;
      input_.entries.push_back({.solution = names_.solutions.at(solution_id),
                                .author = names_.authors.at(solution_id),
                                .solution_key = names_.keys.at(solution_id)});
    }
    const auto [position, is_new] = positions_.emplace(workload_id, input_.workloads.size());
    if (is_new) input_.workloads.push_back(names_.workloads.at(workload_id));
    standing.workload = position->second;
    BoardEntry& entry = input_.entries.back();
    entry.newest_verdict = std::max(entry.newest_verdict, verdict_id);
    entry.standings.push_back(std::move(standing));
  }

  BoardInput finish() {
    for (BoardEntry& entry : input_.entries) {
      std::sort(entry.standings.begin(), entry.standings.end(),
                [](const Standing& a, const Standing& b) { return a.workload < b.workload; });
    }
    return std::move(input_);
  }

 private:
  const Names& names_;
  BoardInput input_;
  int64_t solution_id_ = 0;
  std::unordered_map<int64_t, size_t> positions_;  // workload id to index
};

}  // namespace

Result<std::vector<BoardInput>> read_boards(const Database& database, std::string_view signature) {
  const Names names = FIB_TRY(read_names(database));
  std::string sql =
      "SELECT signature_id, hardware_id, configuration_id, solution_id, workload_id, verdict_id, "
      "cold_ns, cold_low_ns, cold_high_ns, roofline_fraction, nullif(status, 'PASSED') FROM "
      "latest ";
  if (!signature.empty()) {
    sql += "WHERE signature_id = (SELECT id FROM signatures WHERE name = ?1) ";
  }
  sql += "ORDER BY signature_id, hardware_id, configuration_id, solution_id, workload_id";
  Statement rows = FIB_TRY(database.prepare(sql));
  if (!signature.empty()) rows.bind(1, signature);

  std::vector<BoardInput> boards;
  std::optional<BoardBuilder> builder;
  std::array<int64_t, 3> current{};
  while (FIB_TRY(rows.step())) {
    const std::array ids = {rows.integer(0), rows.integer(1), rows.integer(2)};
    if (!builder || ids != current) {
      if (builder) boards.push_back(builder->finish());
      current = ids;
      builder.emplace(names, ids);
    }
    Standing standing;
    standing.failing_status = rows.text(10);
    standing.cold_ns = rows.number(6);
    standing.cold_low_ns = rows.number(7);
    standing.cold_high_ns = rows.number(8);
    standing.roofline_fraction = rows.number(9);
    builder->add(rows.integer(3), rows.integer(4), rows.integer(5), std::move(standing));
  }
  if (builder) boards.push_back(builder->finish());
  std::stable_sort(boards.begin(), boards.end(), [](const BoardInput& a, const BoardInput& b) {
    return std::tie(a.signature, a.hardware) < std::tie(b.signature, b.hardware);
  });
  return boards;
}

}  // namespace fib
