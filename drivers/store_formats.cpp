// store_formats.cpp: every user-space engine's store, one line each.
//
// X(name) expects `StoreFormat name_format()`, defined in the engine's folder.
#include "drivers/store_format.h"

#define SBENCH_STORE_FORMATS(X) X(thin_pool) X(cow_fs)

namespace sbench {

#define SBENCH_DECLARE(name) StoreFormat name##_format();
SBENCH_STORE_FORMATS(SBENCH_DECLARE)
#undef SBENCH_DECLARE

const std::vector<StoreFormat>& store_formats() {
#define SBENCH_MAKE(name) name##_format(),
  static const std::vector<StoreFormat> formats = {SBENCH_STORE_FORMATS(SBENCH_MAKE)};
#undef SBENCH_MAKE
  return formats;
}

}  // namespace sbench
