#include <fcntl.h>
#include <fmt/format.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include <array>

#include "runners/worker/process.h"

namespace fib {
namespace {

constexpr size_t kHeaderBytes = 4;
constexpr size_t kMaxDescriptors = 64;
// What both sides call the message in errors.
constexpr const char* kChannel = "worker channel";

Failure other_end_is_gone() {
  return fail(ErrorCode::kWorkerLost, "the other end hung up", kChannel);
}

// Waits until the socket is ready. Rounded up, so that it doesn't spin in the last millisecond.
Result<void> wait_for(int fd, short events, Deadline deadline) {
  while (true) {
    int patience_ms = -1;
    if (deadline != Deadline::max()) {
      const auto left =
          std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
      if (left.count() <= 0) return fail(ErrorCode::kTimeout, "the deadline has passed", kChannel);
      patience_ms = static_cast<int>(std::min<long long>(left.count(), INT_MAX));
    }
    pollfd wait{fd, events, 0};
    if (::poll(&wait, 1, patience_ms) > 0) return {};
  }
}

std::string length_prefix(size_t bytes) {
  std::string prefix;
  for (size_t i = 0; i < kHeaderBytes; ++i) {
    prefix.push_back(static_cast<char>(bytes >> (8 * i) & 0xff));
  }
  return prefix;
}

size_t length_of(std::string_view prefix) {
  size_t bytes = 0;
  for (size_t i = 0; i < kHeaderBytes; ++i) {
    bytes |= static_cast<size_t>(static_cast<unsigned char>(prefix[i])) << (8 * i);
  }
  return bytes;
}

// Room for kMaxDescriptors in one control message.
struct alignas(cmsghdr) ControlBuffer {
  std::array<char, CMSG_SPACE(kMaxDescriptors * sizeof(int))> bytes{};
};

void attach(msghdr* header, ControlBuffer* buffer, std::span<const int> fds) {
  header->msg_control = buffer->bytes.data();
  header->msg_controllen = CMSG_SPACE(fds.size_bytes());
  cmsghdr* control = CMSG_FIRSTHDR(header);
  control->cmsg_level = SOL_SOCKET;
  control->cmsg_type = SCM_RIGHTS;
  control->cmsg_len = CMSG_LEN(fds.size_bytes());
  ::memcpy(CMSG_DATA(control), fds.data(), fds.size_bytes());
}

void detach(msghdr* header, std::vector<FileDescriptor>* fds) {
  for (cmsghdr* control = CMSG_FIRSTHDR(header); control != nullptr;
       control = CMSG_NXTHDR(header, control)) {
    if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      ::memcpy(&fd, CMSG_DATA(control) + i * sizeof(int), sizeof fd);
      fds->emplace_back(fd);
    }
  }
}

}  // namespace

Channel::Channel(int fd) : fd_(fd) {}
Channel::Channel(Channel&&) noexcept = default;
Channel& Channel::operator=(Channel&&) noexcept = default;
Channel::~Channel() = default;

Result<void> Channel::send(const Json& body, std::span<const int> fds, Deadline deadline) {
  // Invalid UTF-8 (a candidate's output in a log) is replaced, not refused.
  const std::string text = body.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > kMaxMessageBytes || fds.size() > kMaxDescriptors) {
    return fail(ErrorCode::kInvalidInput,
                fmt::format("a message of {} bytes and {} descriptors; at most {} and {}",
                            text.size(), fds.size(), kMaxMessageBytes, kMaxDescriptors),
                kChannel);
  }
  const std::string message = length_prefix(text.size()) + text;
  ControlBuffer control;
  for (size_t sent = 0; sent < message.size();) {
    FIB_CHECK(wait_for(fd_.get(), POLLOUT, deadline));
    iovec piece{const_cast<char*>(message.data()) + sent, message.size() - sent};
    msghdr header{};
    header.msg_iov = &piece;
    header.msg_iovlen = 1;
    if (sent == 0 && !fds.empty()) attach(&header, &control, fds);
    const ssize_t count = ::sendmsg(fd_.get(), &header, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count > 0) {
      sent += static_cast<size_t>(count);
    } else if (errno != EAGAIN && errno != EINTR) {
      return other_end_is_gone();
    }
  }
  return {};
}

// Reads until pending_ holds `bytes`, never past them: what follows is another message's.
Result<void> Channel::read_more(size_t bytes, Deadline deadline) {
  char buffer[64 << 10];
  while (pending_.size() < bytes) {
    FIB_CHECK(wait_for(fd_.get(), POLLIN, deadline));
    iovec piece{buffer, std::min(sizeof buffer, bytes - pending_.size())};
    ControlBuffer control;
    msghdr header{};
    header.msg_iov = &piece;
    header.msg_iovlen = 1;
    header.msg_control = control.bytes.data();
    header.msg_controllen = control.bytes.size();
    const ssize_t count = ::recvmsg(fd_.get(), &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (count > 0) {
      pending_.append(buffer, static_cast<size_t>(count));
      detach(&header, &pending_fds_);
    } else if (count == 0 || (errno != EAGAIN && errno != EINTR)) {
      return other_end_is_gone();
    }
  }
  return {};
}

Result<Message> Channel::receive(Deadline deadline) {
  FIB_CHECK(read_more(kHeaderBytes, deadline));
  const size_t bytes = length_of(pending_);
  if (bytes > kMaxMessageBytes) {
    return fail(ErrorCode::kInvalidInput,
                fmt::format("a message of {} bytes; at most {}", bytes, kMaxMessageBytes), kChannel);
  }
  FIB_CHECK(read_more(kHeaderBytes + bytes, deadline));
  const std::string message = std::exchange(pending_, {});
  std::vector<FileDescriptor> fds = std::exchange(pending_fds_, {});
  Message result;
  result.body = FIB_TRY(parse_json(std::string_view(message).substr(kHeaderBytes), kChannel));
  for (FileDescriptor& fd : fds) result.fds.push_back(fd.release());
  return result;
}

}  // namespace fib
