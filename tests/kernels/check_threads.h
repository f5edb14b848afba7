// In a unit of its own: the thread sanitizer watches it and the kernels, and not check_native.cc's plain loops, which would take minutes.
#pragma once

#include <cstdint>
#include <functional>

bool threads_are_right();

// Calls `task` with 0 .. count - 1, on this thread and three others.
void on_four_threads(int64_t count, const std::function<void(int64_t)>& task);
