#include "drivers/cow_fs/operation.h"

#include <cstring>

namespace sbench::cow_fs {

void pack(const Operation& operation, std::string& to) {
  OperationNumbers numbers = operation;
  numbers.name_bytes = static_cast<std::uint32_t>(operation.name.size());
  numbers.data_bytes = static_cast<std::uint32_t>(operation.data.size());
  to.append(reinterpret_cast<const char*>(&numbers), sizeof(numbers));
  to.append(operation.name);
  to.append(operation.data);
}

Result<Operation> unpack(std::string_view& from) {
  Operation operation;
  if (from.size() < sizeof(OperationNumbers)) {
    return plain_error(EUCLEAN, "the intent log ends within a record");
  }
  OperationNumbers& numbers = operation;
  std::memcpy(&numbers, from.data(), sizeof(numbers));
  from.remove_prefix(sizeof(numbers));
  if (numbers.kind < OperationKind::make || numbers.kind > OperationKind::remove_xattr ||
      numbers.name_bytes > from.size() || numbers.data_bytes > from.size() - numbers.name_bytes) {
    return plain_error(EUCLEAN, "a record of the intent log makes no sense");
  }
  operation.name = from.substr(0, numbers.name_bytes);
  operation.data = from.substr(numbers.name_bytes, numbers.data_bytes);
  from.remove_prefix(numbers.name_bytes + numbers.data_bytes);
  return operation;
}

}  // namespace sbench::cow_fs
