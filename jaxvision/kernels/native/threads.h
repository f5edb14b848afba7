// Dividing work among threads.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#ifdef __linux__
#include <sched.h>
#endif

namespace jaxvision {

// The middle of part `rank` of `total` equal parts of [0, 1): the middle, so that rounding cannot select the
// neighbouring part.
inline double middle(int rank, int total) { return (rank + 0.5) / total; }

// The position of the processor that this thread runs on, in (0, 1), among the processors that the first calling thread may use; 0 if the system
// does not report it.
inline double place() {
#ifdef __linux__
  static const std::array<int, CPU_SETSIZE + 1> before = [] {
    std::array<int, CPU_SETSIZE + 1> found{};
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed)) CPU_ZERO(&allowed);
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) found[cpu + 1] = found[cpu] + (CPU_ISSET(cpu, &allowed) ? 1 : 0);
    return found;
  }();
  const int cpu = sched_getcpu();
  if (cpu >= 0 && cpu < CPU_SETSIZE && before[cpu] < before[CPU_SETSIZE]) return middle(before[cpu], before[CPU_SETSIZE]);
#endif
  return 0.0;
}

// Tasks 0 .. count - 1, divided into shares of consecutive tasks, one for each thread.
class Shares {
 public:
  Shares(int64_t count, int64_t shares) : count_(count), shares_(shares) {}

  // The share of a thread at `place`, or the next share that no thread has claimed. There are not more threads than shares.
  int64_t claim(double place) {
    int64_t own = static_cast<int64_t>(place * size());
    while (shares_[own].claimed.load() || shares_[own].claimed.exchange(true)) own = (own + 1) % size();
    return own;
  }

  // The next task of `share` that has not begun. If there is none, `share` becomes the next share. -1 if all tasks have begun.
  int64_t next(int64_t& share) {
    for (int64_t tried = 0; tried < size(); ++tried, share = (share + 1) % size()) {
      const int64_t first = count_ * share / size(), tasks = count_ * (share + 1) / size() - first;
      std::atomic<int64_t>& begun = shares_[share].begun;
      if (begun.load(std::memory_order_relaxed) >= tasks) continue;  // a plain load does not take the cache line from its owner
      if (const int64_t task = begun.fetch_add(1); task < tasks) return first + task;
    }
    return -1;
  }

 private:
  struct alignas(64) Share {  // a cache line each
    std::atomic<bool> claimed{false};
    std::atomic<int64_t> begun{0};
  };
  int64_t size() const { return static_cast<int64_t>(shares_.size()); }
  int64_t count_;
  std::vector<Share> shares_;
};

// Calls `task` with 0 .. count - 1 on this thread and on `threads` - 1 others, which `schedule` starts. A thread begins with the share of its
// processor, because the data that it wrote in the last call are probably still in its cache (docs/kernels/runtime.md). The calling thread takes
// part and waits only for tasks that have begun, so that a busy pool cannot block it. Rethrows the exception of a task.
template <typename Schedule>
void share_out(int64_t count, int64_t threads, const Schedule& schedule, const std::function<void(int64_t)>& task) {
  struct Progress {
    Shares shares;
    alignas(64) std::atomic<int64_t> done{0};
    std::mutex mutex;
    std::condition_variable finished;
    std::exception_ptr failure;
    Progress(int64_t count, int64_t threads) : shares(count, threads) {}
  };
  threads = std::max<int64_t>(1, std::min(threads, count));
  const auto progress = std::make_shared<Progress>(count, threads);
  const auto work = [progress, count, &task] {  // `task` outlives every call of it: a helper that starts late finds no task
    if (progress->done.load() == count) return;
    int64_t share = progress->shares.claim(place());
    for (int64_t index; (index = progress->shares.next(share)) >= 0;) {
      try {
        task(index);
      } catch (...) {
        std::lock_guard<std::mutex> lock(progress->mutex);
        progress->failure = std::current_exception();
      }
      if (progress->done.fetch_add(1) + 1 == count) {
        std::lock_guard<std::mutex> lock(progress->mutex);
        progress->finished.notify_all();
      }
    }
  };
  try {
    for (int64_t helper = 1; helper < threads; ++helper) schedule(std::function<void()>(work));
  } catch (...) {  // continue with fewer helpers; returning now would destroy `task` while they use it
  }
  work();
  std::unique_lock<std::mutex> lock(progress->mutex);
  progress->finished.wait(lock, [&] { return progress->done.load() == count; });
  if (progress->failure) std::rethrow_exception(progress->failure);
}

}  // namespace jaxvision
