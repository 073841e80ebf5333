#include "integrations/serving/engine/block_pool.h"

#include <gtest/gtest.h>

#include <array>
#include <stdexcept>

namespace fib {
namespace {

BlockHash name(uint64_t n) { return {0, n}; }

TEST(BlockPool, GivesEachPageOnce) {
  BlockPool pool(3);
  EXPECT_EQ(pool.allocate(), 0);
  EXPECT_EQ(pool.allocate(), 1);
  EXPECT_EQ(pool.allocate(), 2);
  EXPECT_EQ(pool.num_free(), 0);
  EXPECT_EQ(pool.allocate(), std::nullopt);
  pool.release(1);
  EXPECT_EQ(pool.num_free(), 1);
  EXPECT_EQ(pool.allocate(), 1);
}

TEST(BlockPool, IsFreeWhenTheLastReferenceIsGone) {
  BlockPool pool(1);
  const int32_t page = pool.allocate().value();
  pool.retain(page);
  pool.release(page);
  EXPECT_EQ(pool.num_free(), 0);
  pool.release(page);
  EXPECT_EQ(pool.num_free(), 1);
}

TEST(BlockPool, FindsPublishedBlocksAlsoWhenNobodyUsesThem) {
  BlockPool pool(2);
  const int32_t page = pool.allocate().value();
  EXPECT_EQ(pool.find(name(1)), std::nullopt);
  pool.publish(page, name(1));
  EXPECT_EQ(pool.find(name(1)), page);
  pool.release(page);
  EXPECT_EQ(pool.find(name(1)), page);
  pool.retain(page);
  EXPECT_EQ(pool.num_free(), 1);
}

TEST(BlockPool, TakesEmptyPagesFirstThenTheLeastRecentlyReleased) {
  BlockPool pool(4);
  for (uint64_t i = 0; i < 3; ++i) pool.publish(pool.allocate().value(), name(i));
  ASSERT_EQ(pool.allocate(), 3);
  for (const int32_t page : {1, 0, 2, 3}) pool.release(page);
  EXPECT_EQ(pool.allocate(), 3) << "holds nothing";
  EXPECT_EQ(pool.allocate(), 1);
  EXPECT_EQ(pool.find(name(1)), std::nullopt);
  pool.retain(0);
  pool.release(0);  // used once more: now the last
  EXPECT_EQ(pool.allocate(), 2);
  EXPECT_EQ(pool.find(name(0)), 0);
  EXPECT_EQ(pool.allocate(), 0);
  EXPECT_FALSE(pool.is_published(0));
}

TEST(BlockPool, KeepsTheFirstOfTwoEqualBlocks) {
  BlockPool pool(2);
  const int32_t first = pool.allocate().value(), second = pool.allocate().value();
  pool.publish(first, name(1));
  pool.publish(second, name(1));
  EXPECT_EQ(pool.find(name(1)), first);
  EXPECT_FALSE(pool.is_published(second));
  pool.release(second);
  EXPECT_EQ(pool.find(name(1)), first);
}

TEST(BlockPool, WithdrawsABlockFromThoseToCome) {
  BlockPool pool(2);
  const int32_t page = pool.allocate().value(), other = pool.allocate().value();
  pool.publish(page, name(1));
  pool.withdraw(page);
  EXPECT_EQ(pool.find(name(1)), std::nullopt);
  EXPECT_EQ(pool.references(page), 1);
  pool.withdraw(page);  // it was withdrawn
  pool.publish(other, name(1));
  EXPECT_EQ(pool.find(name(1)), other);
}

TEST(BlockPool, RefusesMisuse) {
  BlockPool pool(1);
  EXPECT_THROW(pool.release(0), std::logic_error);
  EXPECT_THROW(pool.publish(0, name(1)), std::logic_error);
  ASSERT_EQ(pool.allocate(), 0);
  pool.publish(0, name(1));
  EXPECT_THROW(pool.publish(0, name(2)), std::logic_error);
}

TEST(BlockHash, NamesTheTokensAndAllBeforeThem) {
  const std::array<TokenId, 2> tokens{1, 2}, swapped{2, 1};
  const BlockHash first = hash_block({}, tokens);
  EXPECT_EQ(first, hash_block({}, tokens));
  EXPECT_NE(first, hash_block({}, swapped));
  EXPECT_NE(first, hash_block(first, tokens));
  EXPECT_NE(first, hash_block({}, std::span(tokens).first(1)));
  EXPECT_NE(first.high, first.low);
}

}  // namespace
}  // namespace fib
