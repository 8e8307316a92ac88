// pool_server.h: the process that owns a thin pool and shows its devices as files.
//
// It opens the block device, alone, and serves thin_pool::DeviceFiles on a FUSE
// mount: what is done to the files there is all that anybody says to it (see
// device_files.h). It ends when the mount goes, its pool closed in good order;
// it dies with the process that started it, unless kept. When it dies, requests
// to its files fail (ENOTCONN, EIO); nothing waits for it.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "drivers/base/result.h"
#include "drivers/thin_pool/pool.h"

