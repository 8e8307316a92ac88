#include "drivers/backing/no_engine.h"

namespace sbench {

DriverSpec no_engine_spec(std::string name, std::string summary, std::function<Availability()> probe) {
  const auto refuse = [name, probe] {
    const Availability why = probe();
    SBENCH_CHECK(!why.available);
    return plain_error(ENOTSUP, "{} cannot run here: {}; {}", name, why.reason, why.remedy);
  };
  DriverSpec spec;
  spec.name = std::move(name);
  spec.summary = std::move(summary);
  spec.probe = [probe](const Options&) { return probe(); };
  spec.format = [refuse](Device&, const Options&) -> Status { return refuse(); };
  spec.open = [refuse](Device&, const Options&, const std::filesystem::path&) -> Result<std::unique_ptr<Driver>> {
    return refuse();
  };
  return spec;
}

}  // namespace sbench
