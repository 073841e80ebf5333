#include "integrations/serving/engine/block_pool.h"

#include <stdexcept>
#include <utility>

namespace fib {

BlockPool::BlockPool(int num_pages) : pages_(num_pages + 1) {
  pages_[ring()].previous = pages_[ring()].next = ring();
  for (int32_t page = 0; page < num_pages; ++page) link_before(ring(), page);
}

std::optional<int32_t> BlockPool::allocate() {
  if (num_free_ == 0) return std::nullopt;
  const int32_t page = pages_[ring()].next;
  withdraw(page);
  retain(page);
  return page;
}

void BlockPool::retain(int32_t page) {
  if (pages_[page].references++ == 0) unlink(page);
}

void BlockPool::release(int32_t page) {
  if (pages_[page].references == 0) throw std::logic_error("a free page was released");
  if (--pages_[page].references > 0) return;
  link_before(is_published(page) ? ring() : pages_[ring()].next, page);
}

void BlockPool::publish(int32_t page, const BlockHash& hash) {
  if (references(page) == 0) throw std::logic_error("a free page was published");
  if (is_published(page)) throw std::logic_error("a page was published twice");
  if (published_.try_emplace(hash, page).second) pages_[page].hash = hash;
}

std::optional<int32_t> BlockPool::find(const BlockHash& hash) const {
  const auto found = published_.find(hash);
  if (found == published_.end()) return std::nullopt;
  return found->second;
}

void BlockPool::withdraw(int32_t page) {
  if (const auto hash = std::exchange(pages_[page].hash, std::nullopt)) published_.erase(*hash);
}

void BlockPool::link_before(int32_t next, int32_t page) {
  const int32_t previous = pages_[next].previous;
  pages_[page].previous = previous;
  pages_[page].next = next;
  pages_[previous].next = pages_[next].previous = page;
  ++num_free_;
}

void BlockPool::unlink(int32_t page) {
  pages_[pages_[page].previous].next = pages_[page].next;
  pages_[pages_[page].next].previous = pages_[page].previous;
  --num_free_;
}

}  // namespace fib
