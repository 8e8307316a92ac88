// userspace_engine.cpp: the thin_pool library behind a FUSE server and loop devices.
#include "drivers/devicemapper/thin_devices.h"

namespace sbench::devicemapper {

namespace {

Availability probe(const Options&) {
  return Availability::no("this sbench has no user-space thin pool yet", "use a newer sbench", EngineClass::userspace);
}

Error refusal() {
  const Availability why = probe({});
  return plain_error(ENOTSUP, "devicemapper cannot run here: {}; {}", why.reason, why.remedy);
}

Status format(Device&, const Options&) { return refusal(); }

Result<std::unique_ptr<ThinDevices>> open(Device&, const Options&, const std::filesystem::path&) { return refusal(); }

}  // namespace

const Engine& userspace_engine() {
  static const Engine engine = {"userspace", EngineClass::userspace, probe, format, open};
  return engine;
}

}  // namespace sbench::devicemapper
