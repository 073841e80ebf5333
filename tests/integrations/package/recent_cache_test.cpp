#include "integrations/package/recent_cache.h"

#include <gtest/gtest.h>

#include <memory>

namespace fib {
namespace {

TEST(RecentCacheTest, TheLeastRecentlyUsedGoes) {
  RecentCache<int> cache(2);
  cache.insert("a", 1);
  cache.insert("b", 2);
  ASSERT_NE(cache.find("a"), nullptr);
  cache.insert("c", 3);
  EXPECT_EQ(cache.find("b"), nullptr);
  EXPECT_EQ(*cache.find("a"), 1);
  EXPECT_EQ(*cache.find("c"), 3);
}

TEST(RecentCacheTest, KeysAreBytes) {
  RecentCache<int> cache(4);
  cache.insert(std::string_view("a\0b", 3), 1);
  EXPECT_EQ(cache.find("a"), nullptr);
  EXPECT_EQ(*cache.find(std::string_view("a\0b", 3)), 1);
}

TEST(RecentCacheTest, EntriesSurviveAMove) {
  RecentCache<std::unique_ptr<int>> cache(2);
  cache.insert("a", std::make_unique<int>(1));
  RecentCache<std::unique_ptr<int>> moved = std::move(cache);
  moved.insert("b", std::make_unique<int>(2));
  EXPECT_EQ(**moved.find("a"), 1);
  EXPECT_EQ(**moved.find("b"), 2);
}

}  // namespace
}  // namespace fib
