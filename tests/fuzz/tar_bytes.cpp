#include "tests/fuzz/tar_bytes.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace sbench::fuzz {

namespace {

constexpr std::size_t kBlock = 512;

void put_octal(char* field, std::size_t width, std::uint64_t value) {
  char digits[32];
  std::snprintf(digits, sizeof digits, "%0*llo", static_cast<int>(width - 1), static_cast<unsigned long long>(value));
  std::memcpy(field, digits + std::strlen(digits) - (width - 1), width - 1);
}

void put_checksum(char* block) {
  std::memset(block + 148, ' ', 8);
  unsigned sum = 0;
  for (std::size_t i = 0; i < kBlock; ++i) {
    sum += static_cast<unsigned char>(block[i]);
  }
  std::snprintf(block + 148, 8, "%06o", sum);
  block[155] = ' ';
}

}  // namespace

std::string header_block(const RawHeader& header) {
  std::string block(kBlock, '\0');
  std::copy_n(header.name.begin(), std::min<std::size_t>(header.name.size(), 100), block.begin());
  put_octal(&block[100], 8, header.mode & 07777);
  put_octal(&block[108], 8, 0);
  put_octal(&block[116], 8, 0);
  put_octal(&block[124], 12, header.size_bytes);
  put_octal(&block[136], 12, 1'600'000'000);
  block[156] = header.type;
  std::copy_n(header.link.begin(), std::min<std::size_t>(header.link.size(), 100), block.begin() + 157);
  std::memcpy(&block[257], "ustar\00000", 8);
  put_octal(&block[329], 8, header.major);
  put_octal(&block[337], 8, header.minor);
  put_checksum(block.data());
  return block;
}

std::string entry_blocks(RawHeader header, std::string_view content) {
  header.size_bytes = content.size();
  std::string blocks = header_block(header);
  blocks.append(content);
  blocks.resize((blocks.size() + kBlock - 1) / kBlock * kBlock, '\0');
  return blocks;
}

std::string pax_blocks(std::string_view key, std::string_view value) {
  std::string record;
  std::size_t length = key.size() + value.size() + 3;
  for (std::size_t digits = 1; record.size() != length; ++digits) {
    length = key.size() + value.size() + 3 + digits;
    record = std::to_string(length) + " " + std::string(key) + "=" + std::string(value) + "\n";
  }
  return entry_blocks({.name = "pax", .type = 'x'}, record);
}

void repair_headers(std::string& tar) {
  for (std::size_t at = 0; at + kBlock <= tar.size(); at += kBlock) {
    if (std::memcmp(&tar[at + 257], "ustar", 5) == 0) {
      put_checksum(&tar[at]);
    }
  }
}

}  // namespace sbench::fuzz
