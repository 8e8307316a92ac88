// marks.h: where a workload says what it is about to do, and what was acknowledged.
#pragma once

#include <string>

#include "drivers/base/result.h"

namespace sbench::crash {

class Marks {
 public:
  virtual ~Marks() = default;
  /// Thread-safe. When it returns, the line stands behind every request that was answered before, and before every one
  /// that follows.
  [[nodiscard]] virtual Status mark(const std::string& text) = 0;
};

}  // namespace sbench::crash
