#include "drivers/layer/whiteout.h"

#include "drivers/base/user_namespace.h"

namespace sbench {

const char* overlay_opaque_xattr() { return in_user_namespace() ? "user.overlay.opaque" : "trusted.overlay.opaque"; }

}  // namespace sbench
