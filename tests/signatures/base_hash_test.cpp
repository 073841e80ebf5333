#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "signatures/base/hash.h"

namespace fib {
namespace {

TEST(Hash, KnownVectors) {
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha1_hex("abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
  EXPECT_EQ(sha1_hex(std::string(1'000'000, 'a')), "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
}

TEST(Hash, FieldsAreLengthPrefixed) {
  const std::string expected = sha256_hex(std::string("\2\0\0\0\0\0\0\0ab\1\0\0\0\0\0\0\0c", 19));
  EXPECT_EQ(Hasher().add("ab").add("c").hex(), expected);
}

TEST(Hash, DifferentFieldsGiveDifferentKeys) {
  const std::vector<std::string> keys = {
      Hasher().hex(),
      Hasher().add("").hex(),
      Hasher().add("abc").hex(),
      Hasher().add("a").add("bc").hex(),
      Hasher().add("ab").add("c").hex(),
      Hasher().add(uint64_t{7}).hex(),
      Hasher().add(uint64_t{7}).add(uint64_t{7}).hex(),
      Hasher().add(std::string("\7\0\0\0\0\0\0\0", 8)).hex(),
  };
  for (size_t i = 0; i < keys.size(); ++i)
    for (size_t j = i + 1; j < keys.size(); ++j) EXPECT_NE(keys[i], keys[j]) << i << " and " << j;
}

TEST(Hash, U64IsTheStartOfTheDigest) {
  const std::string hex = Hasher().add("field").hex();
  uint64_t expected = 0;
  for (int byte = 7; byte >= 0; --byte)
    expected = expected << 8 | std::stoul(hex.substr(2 * byte, 2), nullptr, 16);
  EXPECT_EQ(Hasher().add("field").u64(), expected);
}

TEST(Hash, MovesCarryTheState) {
  Hasher first;
  first.add("a");
  Hasher second = std::move(first);
  EXPECT_EQ(second.add("b").hex(), Hasher().add("a").add("b").hex());
}

TEST(Hash, ASpentHasherIsABug) {
  Hasher hasher;
  (void)hasher.hex();
  EXPECT_THROW(hasher.add("x"), std::logic_error);
  EXPECT_THROW((void)hasher.hex(), std::logic_error);
}

}  // namespace
}  // namespace fib
