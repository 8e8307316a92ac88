// native.cpp: the control of every comparison: a plain directory on the same device.
//
// Work inside a mounted layer costs exactly what the backing file system
// costs: no union, no shared block, no first-write penalty. The price of that
// is paid in prepare(), which copies the parent in full, block by block, and is
// no part of what `native` is the control for.
#include "drivers/backing/directory_driver.h"

namespace sbench {

DriverSpec native_driver() {
  DriverSpec spec = directory_driver_spec({"native", false});
  spec.summary = "control: plain directories; work in a layer costs what the file system costs (prepare copies all)";
  return spec;
}

}  // namespace sbench
