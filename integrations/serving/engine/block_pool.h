#pragma once

// The pages of the KV cache: who uses them, and which of them hold a published block that later
// sequences may share. A page without references is free; if it holds a published block it stays in
// the prefix cache until its turn to be taken comes, least recently released first.

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "integrations/serving/engine/block_hash.h"

namespace fib {

class BlockPool {
 public:
  explicit BlockPool(int num_pages);

  int num_pages() const { return static_cast<int>(pages_.size()) - 1; }
  int num_free() const { return num_free_; }  // without references, published or not

  // A page of one's own, with one reference; nullopt when all have references. Empty pages are
  // taken first, then published blocks are forgotten.
  std::optional<int32_t> allocate();
  void retain(int32_t page);
  void release(int32_t page);

  // Others may find the page from now on, so nothing may be written to it any more. If the same
  // block is published already, the first stays and this page remains private.
  void publish(int32_t page, const BlockHash& hash);
  std::optional<int32_t> find(const BlockHash& hash) const;
  // Nobody finds the page any more; for those who have it nothing changes.
  void withdraw(int32_t page);

  int references(int32_t page) const { return pages_[page].references; }
  bool is_published(int32_t page) const { return pages_[page].hash.has_value(); }

 private:
  struct Page {
    int references = 0;
    std::optional<BlockHash> hash;   // of the published block
    int32_t previous = 0, next = 0;  // in the ring of free pages
  };

  // The pages without references are a ring, in the order in which they'll be taken. The entry
  // behind the last page belongs to none: it is where the ring begins and ends.
  int32_t ring() const { return num_pages(); }
  void link_before(int32_t next, int32_t page);
  void unlink(int32_t page);

  std::vector<Page> pages_;
  int num_free_ = 0;
  std::unordered_map<BlockHash, int32_t> published_;
};

}  // namespace fib
