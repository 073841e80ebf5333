#include "signatures/base/hash.h"

#include <openssl/evp.h>

#include <array>
#include <bit>
#include <cstring>
#include <stdexcept>

namespace fib {
namespace {

static_assert(std::endian::native == std::endian::little, "keys are hashed as little-endian words");

constexpr size_t kSha256Bytes = 32;
// No field is this long, so the tag can't be mistaken for a string's length.
constexpr uint64_t kIntegerTag = ~uint64_t{0};

std::string to_hex(const unsigned char* bytes, size_t count) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(2 * count);
  for (size_t i = 0; i < count; ++i) {
    text += kDigits[bytes[i] >> 4];
    text += kDigits[bytes[i] & 15];
  }
  return text;
}

std::string digest_hex(const EVP_MD* algorithm, std::string_view bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned int size = 0;
  if (EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, algorithm, nullptr) != 1)
    throw std::logic_error("OpenSSL refused to hash");
  return to_hex(digest.data(), size);
}

}  // namespace

struct Hasher::State {
  struct FreeContext {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, FreeContext> context{EVP_MD_CTX_new()};

  State() {
    if (!context || EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) != 1)
      throw std::logic_error("OpenSSL has no SHA-256");
  }

  void update(const void* bytes, size_t count) {
    if (!context) throw std::logic_error("a field was added to a spent hasher");
    if (EVP_DigestUpdate(context.get(), bytes, count) != 1)
      throw std::logic_error("OpenSSL refused to hash");
  }

  std::array<unsigned char, kSha256Bytes> finish() {
    if (!context) throw std::logic_error("a spent hasher was asked again");
    std::array<unsigned char, kSha256Bytes> digest;
    if (EVP_DigestFinal_ex(context.get(), digest.data(), nullptr) != 1)
      throw std::logic_error("OpenSSL refused to hash");
    context.reset();
    return digest;
  }
};

Hasher::Hasher() : state_(std::make_unique<State>()) {}
Hasher::~Hasher() = default;
Hasher::Hasher(Hasher&&) noexcept = default;
Hasher& Hasher::operator=(Hasher&&) noexcept = default;

Hasher& Hasher::add(std::string_view field) {
  const uint64_t length = field.size();
  state_->update(&length, sizeof length);
  state_->update(field.data(), field.size());
  return *this;
}

Hasher& Hasher::add(uint64_t value) {
  const uint64_t tagged[2] = {kIntegerTag, value};
  state_->update(tagged, sizeof tagged);
  return *this;
}

std::string Hasher::hex() {
  const auto digest = state_->finish();
  return to_hex(digest.data(), digest.size());
}

uint64_t Hasher::u64() {
  const auto digest = state_->finish();
  uint64_t value;
  std::memcpy(&value, digest.data(), sizeof value);
  return value;
}

std::string sha256_hex(std::string_view bytes) { return digest_hex(EVP_sha256(), bytes); }
std::string sha1_hex(std::string_view bytes) { return digest_hex(EVP_sha1(), bytes); }

}  // namespace fib
