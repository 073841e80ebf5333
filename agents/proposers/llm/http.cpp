#include "agents/proposers/llm/http.h"

#include <array>
#include <stdexcept>

namespace fib::agents {

namespace {

constexpr long kConnectTimeoutS = 20;

class HeaderList {
 public:
  HeaderList(const CurlLibrary& curl, const std::vector<std::string>& headers) : curl_(curl) {
    for (const std::string& header : headers) {
      curl_slist* longer = curl_.slist_append(list_, header.c_str());
      if (longer == nullptr) throw std::bad_alloc();
      list_ = longer;
    }
  }
  ~HeaderList() { curl_.slist_free_all(list_); }
  HeaderList(const HeaderList&) = delete;
  HeaderList& operator=(const HeaderList&) = delete;
  curl_slist* get() const { return list_; }

 private:
  const CurlLibrary& curl_;
  curl_slist* list_ = nullptr;
};

struct Receiver {
  std::string& body;
  size_t max_bytes;
};

size_t receive(char* data, size_t size, size_t count, void* context) {
  Receiver& receiver = *static_cast<Receiver*>(context);
  const size_t bytes = size * count;
  // Fewer than there are: curl ends the transfer.
  if (receiver.body.size() + bytes > receiver.max_bytes) return 0;
  receiver.body.append(data, bytes);
  return bytes;
}

int is_cancelled(void* context, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return (*static_cast<const std::function<bool()>*>(context))() ? 1 : 0;
}

HttpTrouble trouble_of(CURLcode code) {
  switch (code) {
    case CURLE_OK: return HttpTrouble::kNone;
    case CURLE_ABORTED_BY_CALLBACK: return HttpTrouble::kCancelled;
    case CURLE_OPERATION_TIMEDOUT: return HttpTrouble::kTimeout;
    case CURLE_WRITE_ERROR: return HttpTrouble::kTooLarge;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR: return HttpTrouble::kUntrusted;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_PROXY:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL: return HttpTrouble::kUnreachable;
    default: return HttpTrouble::kCut;
  }
}

// An easy handle that knows no option by a wrong type: each is a long, a pointer or a function.
class Transfer {
 public:
  explicit Transfer(const CurlLibrary& curl) : curl_(curl), handle_(curl.easy_init()) {
    if (handle_ == nullptr) throw std::bad_alloc();
  }
  ~Transfer() { curl_.easy_cleanup(handle_); }
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  template <class Value>
  void set(CURLoption option, Value value) {
    if (curl_.easy_setopt(handle_, option, value) != CURLE_OK) {
      throw std::logic_error("libcurl refuses an option");
    }
  }
  CURLcode perform() { return curl_.easy_perform(handle_); }
  template <class Value>
  Value info(CURLINFO name) const {
    Value value{};
    curl_.easy_getinfo(handle_, name, &value);
    return value;
  }

 private:
  const CurlLibrary& curl_;
  CURL* handle_;
};

}  // namespace

HttpAnswer post(const CurlLibrary& curl, const HttpRequest& request,
                const std::function<bool()>& cancelled) {
  HttpAnswer answer;
  Receiver receiver{.body = answer.body, .max_bytes = request.max_bytes};
  std::array<char, CURL_ERROR_SIZE> explanation{};
  const HeaderList headers(curl, request.headers);
  Transfer transfer(curl);
  transfer.set(CURLOPT_ERRORBUFFER, explanation.data());
  transfer.set(CURLOPT_URL, request.url.c_str());
  transfer.set(CURLOPT_PROTOCOLS_STR, "http,https");
  transfer.set(CURLOPT_NOSIGNAL, 1L);        // threads
  transfer.set(CURLOPT_FOLLOWLOCATION, 0L);  // the key goes to nobody else
  transfer.set(CURLOPT_SSL_VERIFYPEER, 1L);
  transfer.set(CURLOPT_SSL_VERIFYHOST, 2L);
  transfer.set(CURLOPT_HTTPHEADER, headers.get());
  transfer.set(CURLOPT_POST, 1L);
  transfer.set(CURLOPT_POSTFIELDS, request.body.data());
  transfer.set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
  transfer.set(CURLOPT_CONNECTTIMEOUT, kConnectTimeoutS);
  transfer.set(CURLOPT_TIMEOUT_MS, static_cast<long>(request.timeout_s * 1000.0));
  transfer.set(CURLOPT_WRITEFUNCTION, &receive);
  transfer.set(CURLOPT_WRITEDATA, &receiver);
  transfer.set(CURLOPT_NOPROGRESS, 0L);
  transfer.set(CURLOPT_XFERINFOFUNCTION, &is_cancelled);
  transfer.set(CURLOPT_XFERINFODATA, &cancelled);

  const CURLcode code = transfer.perform();
  answer.trouble = trouble_of(code);
  answer.status = static_cast<int>(transfer.info<long>(CURLINFO_RESPONSE_CODE));
  answer.retry_after_s = static_cast<double>(transfer.info<curl_off_t>(CURLINFO_RETRY_AFTER));
  if (answer.trouble == HttpTrouble::kTimeout &&
      transfer.info<curl_off_t>(CURLINFO_PRETRANSFER_TIME_T) == 0) {
    answer.trouble = HttpTrouble::kUnreachable;
  }
  if (code != CURLE_OK) {
    answer.explanation = explanation[0] != '\0' ? explanation.data() : curl.easy_strerror(code);
  }
  return answer;
}

}  // namespace fib::agents
