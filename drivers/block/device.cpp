#include "drivers/block/device.h"
