#include "tests/integrations/package/runtime/waits.h"

#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdarg>

namespace fib::package {
namespace {

constinit thread_local int64_t waits = 0;

// The C library's function behind the one that counts; looked up without a guard that could lock.
template <class Function>
Function behind(std::atomic<Function>& known, const char* name) {
  Function function = known.load(std::memory_order_relaxed);
  if (function == nullptr) {
    function = reinterpret_cast<Function>(::dlsym(RTLD_NEXT, name));
    known.store(function, std::memory_order_relaxed);
  }
  return function;
}

}  // namespace

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
bool can_count_waits() { return false; }
#else
bool can_count_waits() { return true; }
#endif

int64_t waits_of_this_thread() { return waits; }

}  // namespace fib::package

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

#define FIB_COUNTED(name, parameters, arguments)                     \
  int name parameters {                                              \
    constinit static std::atomic<int(*) parameters> known = nullptr; \
    ++fib::package::waits;                                           \
    return fib::package::behind(known, #name) arguments;             \
  }

extern "C" {

FIB_COUNTED(pthread_mutex_lock, (pthread_mutex_t * mutex), (mutex))
FIB_COUNTED(pthread_mutex_trylock, (pthread_mutex_t * mutex), (mutex))
FIB_COUNTED(pthread_rwlock_rdlock, (pthread_rwlock_t * lock), (lock))
FIB_COUNTED(pthread_rwlock_wrlock, (pthread_rwlock_t * lock), (lock))
FIB_COUNTED(pthread_spin_lock, (pthread_spinlock_t * lock), (lock))
FIB_COUNTED(pthread_cond_wait, (pthread_cond_t * condition, pthread_mutex_t* mutex),
            (condition, mutex))
FIB_COUNTED(sem_wait, (sem_t * semaphore), (semaphore))
FIB_COUNTED(nanosleep, (const timespec* time, timespec* left), (time, left))

// No call takes more than six arguments; those that aren't given are never looked at.
long syscall(long number, ...) {
  constinit static std::atomic<long (*)(long, ...)> known = nullptr;
  ++fib::package::waits;
  va_list list;
  va_start(list, number);
  long arguments[6];
  for (long& argument : arguments) argument = va_arg(list, long);
  va_end(list);
  return fib::package::behind(known, "syscall")(number, arguments[0], arguments[1], arguments[2],
                                                arguments[3], arguments[4], arguments[5]);
}

}  // extern "C"

#undef FIB_COUNTED
#endif
