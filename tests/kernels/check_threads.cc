// The threads that check_native.cc runs the kernels on, and that work is shared out among them rightly.
#include "check_threads.h"

#include <atomic>
#include <new>
#include <stdexcept>
#include <thread>
#include <vector>

#include "threads.h"

namespace {

// Every task is done once, whatever the number of threads and however late they come; a thread's own share first; a failure is reported.
bool check_shares() {
  jaxvision::Shares shares(10, 4);  // of 2, 3, 2 and 3 tasks
  int64_t own = shares.claim(0.5), other = shares.claim(0.74), third = shares.claim(0.99), last = shares.claim(0.99);
  if (own != 2 || other != 3 || third != 0 || last != 1) return false;
  for (const int64_t expected : {5, 6, 7, 8, 9, 0, 1})
    if (shares.next(own) != expected) return false;
  return own == 0 && shares.next(third) == 2 && third == 1 && shares.next(last) == 3 && shares.next(other) == 4 && shares.next(own) == -1;
}

// Of n processors the k-th gets share k, whatever n is; and the place of a thread is that of the processor to which it is bound.
bool check_places() {
  for (int total = 1; total <= 512; ++total)
    for (int rank = 0; rank < total; ++rank)
      if (jaxvision::Shares(total, total).claim(jaxvision::middle(rank, total)) != rank) return false;
#ifdef __linux__
  cpu_set_t allowed;
  jaxvision::place();  // from here on the processors are known
  if (sched_getaffinity(0, sizeof allowed, &allowed)) return false;
  for (int cpu = 0, rank = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    if (sched_setaffinity(0, sizeof one, &one) || jaxvision::place() != jaxvision::middle(rank++, CPU_COUNT(&allowed))) return false;
  }
  return sched_setaffinity(0, sizeof allowed, &allowed) == 0;
#else
  return jaxvision::place() == 0;
#endif
}

// A helper that cannot be had is done without, and those that there are do not outlive the call's task.
bool check_few_helpers() {
  std::vector<std::thread> helpers;
  std::atomic<int> calls{0};
  const auto schedule = [&](std::function<void()> work) {
    if (helpers.size() == 1) throw std::bad_alloc();
    helpers.emplace_back(work);
  };
  jaxvision::share_out(100, 4, schedule, [&](int64_t) { ++calls; });
  for (std::thread& helper : helpers) helper.join();
  return helpers.size() == 1 && calls == 100;
}

bool check_threads() {
  for (const int64_t threads : {1, 2, 3, 8}) {
    for (const int64_t count : {0, 1, 2, 7, 8, 1000}) {
      std::vector<std::atomic<int>> calls(count);
      std::vector<std::thread> helpers;
      std::vector<std::function<void()>> late;
      const bool fails = count == 7;
      bool failed = false;
      const auto schedule = [&](std::function<void()> work) {
        if (helpers.size() < 2) helpers.emplace_back(work);
        else late.push_back(work);
      };
      try {
        jaxvision::share_out(count, threads, schedule, [&](int64_t index) {
          ++calls[index];
          if (fails && index == 3) throw std::runtime_error("task 3");
        });
      } catch (const std::runtime_error&) {
        failed = true;
      }
      for (const auto& work : late) work();  // which find no task left
      for (std::thread& helper : helpers) helper.join();
      for (const auto& called : calls)
        if (called != 1) return false;
      if (failed != fails) return false;
    }
  }
  return true;
}

}  // namespace

bool threads_are_right() { return check_places() && check_shares() && check_few_helpers() && check_threads(); }

void on_four_threads(int64_t count, const std::function<void(int64_t)>& task) {
  std::vector<std::thread> helpers;
  jaxvision::share_out(count, 4, [&](std::function<void()> work) { helpers.emplace_back(work); }, task);
  for (std::thread& helper : helpers) helper.join();
}
