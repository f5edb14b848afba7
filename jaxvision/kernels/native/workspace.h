// Memory that a thread keeps from call to call, so that no page is touched for the first time in every call.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <new>
#include <vector>

namespace jaxvision {

class Workspace {
 public:
  Workspace() = default;
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  ~Workspace() {
    for (const Block& block : blocks_) std::free(block.at);
  }

  // Uninitialized memory, aligned to 64 bytes, until the innermost Scope ends.
  float* take(int64_t floats) {
    if (next_ == blocks_.size()) blocks_.push_back({nullptr, 0});
    Block& own = blocks_[next_++];
    if (own.size < floats) {
      std::free(own.at);
      own.at = static_cast<float*>(std::aligned_alloc(64, (floats * sizeof(float) + 63) / 64 * 64));
      own.size = own.at ? floats : 0;
      if (!own.at) throw std::bad_alloc();
    }
    return own.at;
  }

  // What is taken while a scope lives may be taken again after it.
  class Scope {
   public:
    explicit Scope(Workspace& workspace) : workspace_(workspace), first_(workspace.next_) {}
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    ~Scope() { workspace_.next_ = first_; }

   private:
    Workspace& workspace_;
    size_t first_;
  };

 private:
  struct Block {
    float* at;
    int64_t size;
  };
  std::vector<Block> blocks_;
  size_t next_ = 0;
};

}  // namespace jaxvision
