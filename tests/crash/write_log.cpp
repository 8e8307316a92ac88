#include "tests/crash/write_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstring>

#include "drivers/base/file.h"

namespace sbench::crash {

Status LogWriter::append(RecordKind kind, std::uint64_t offset, std::uint64_t length, std::span<const std::byte> data) {
  RecordHeader header;
  header.kind = kind;
  header.offset = offset;
  header.length = length;
  header.data_bytes = data.size();
  const std::lock_guard lock(mutex_);
  SBENCH_TRY(write_all(file_.get(), {reinterpret_cast<const char*>(&header), sizeof(header)}, "the write log"));
  return write_all(file_.get(), {reinterpret_cast<const char*>(data.data()), data.size()}, "the write log");
}

Result<WriteLog> WriteLog::read(const std::filesystem::path& file) {
  SBENCH_TRY_SET(const Fd fd, open_file(file, O_RDONLY));
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) {
    return errno_error("cannot inspect {}", file.string());
  }
  WriteLog log;
  log.bytes_.resize(static_cast<std::size_t>(status.st_size));
  for (std::size_t at = 0; at < log.bytes_.size();) {
    const ssize_t got = ::pread(fd.get(), log.bytes_.data() + at, log.bytes_.size() - at, static_cast<off_t>(at));
    if (got <= 0) {
      return errno_error("cannot read {}", file.string());
    }
    at += static_cast<std::size_t>(got);
  }
  for (std::size_t at = 0; at < log.bytes_.size();) {
    RecordHeader header;
    if (log.bytes_.size() - at < sizeof(header)) {
      return plain_error(EUCLEAN, "{} breaks off after {} records", file.string(), log.records_.size());
    }
    std::memcpy(&header, log.bytes_.data() + at, sizeof(header));
    at += sizeof(header);
    if (header.magic != RecordHeader::kMagic || log.bytes_.size() - at < header.data_bytes) {
      return plain_error(EUCLEAN, "{} has no record after its first {}", file.string(), log.records_.size());
    }
    log.records_.push_back(
        {header.kind, header.offset, header.length, std::span(log.bytes_).subspan(at, header.data_bytes)});
    at += header.data_bytes;
  }
  return log;
}

void WriteLog::add(RecordKind kind, std::uint64_t offset, std::uint64_t length, std::span<const std::byte> data) {
  added_.emplace_back(data.begin(), data.end());
  records_.push_back({kind, offset, length, added_.back()});
}

void WriteLog::forget_flushes(std::size_t from) {
  for (std::size_t i = from; i < records_.size(); ++i) {
    if (records_[i].kind == RecordKind::flush) {
      records_[i] = {RecordKind::mark, 0, 0, {}};
    }
  }
}

std::size_t WriteLog::find_mark(std::string_view text, std::size_t from) const {
  while (from < records_.size() && (records_[from].kind != RecordKind::mark || records_[from].text() != text)) {
    ++from;
  }
  return from;
}

}  // namespace sbench::crash
