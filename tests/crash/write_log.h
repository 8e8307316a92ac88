// write_log.h: everything that reached a block device, in order, and what was acknowledged in between.
//
// A file of records, one after another: a RecordHeader, then `data_bytes` of data:
//   write   the bytes written at `offset`              zero   none: `length` bytes at `offset` became zeros
//   flush   none: what was completed before is durable mark   a line of text that the workload put here
//   durable_write   a write that is durable itself, whatever became of those before it (FUA)
// A record stands in the log before its request is answered, so a mark that was made
// after an fsync returned stands behind the flush that the fsync sent down.
#pragma once

#include <deque>
#include <filesystem>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "drivers/base/fd.h"
#include "drivers/base/result.h"

namespace sbench::crash {

enum class RecordKind : std::uint32_t { write = 1, zero, flush, mark, durable_write };

struct RecordHeader {
  static constexpr std::uint32_t kMagic = 0x676f4c57;  // "WLog"
  std::uint32_t magic = kMagic;
  RecordKind kind = RecordKind::flush;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  std::uint64_t data_bytes = 0;
};

/// A record of a log that is read; `data` lies in the log's memory.
struct Record {
  RecordKind kind = RecordKind::flush;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  std::span<const std::byte> data;

  /// Of a mark.
  [[nodiscard]] std::string_view text() const { return {reinterpret_cast<const char*>(data.data()), data.size()}; }
  [[nodiscard]] bool changes() const {
    return kind == RecordKind::write || kind == RecordKind::zero || kind == RecordKind::durable_write;
  }
};

/// Appends to a log. Thread-safe: records are whole, and in the order of the calls.
class LogWriter {
 public:
  /// `file`: empty and open for writing.
  explicit LogWriter(Fd file) : file_(std::move(file)) {}

  [[nodiscard]] Status append(RecordKind kind, std::uint64_t offset, std::uint64_t length,
                              std::span<const std::byte> data);

 private:
  std::mutex mutex_;
  Fd file_;
};

/// A log that nobody writes any more, in memory.
class WriteLog {
 public:
  WriteLog() = default;
  WriteLog(WriteLog&&) = default;
  WriteLog& operator=(WriteLog&&) = default;
  /// EUCLEAN when it is no log, or breaks off.
  [[nodiscard]] static Result<WriteLog> read(const std::filesystem::path& file);

  [[nodiscard]] const std::vector<Record>& records() const { return records_; }
  /// Appends a record with a copy of `data`.
  void add(RecordKind kind, std::uint64_t offset, std::uint64_t length, std::span<const std::byte> data);
  /// As if the device had done nothing at the flushes after record `from`.
  void forget_flushes(std::size_t from);
  /// Index of the first mark with this text at or after `from`; records().size() when there is none.
  [[nodiscard]] std::size_t find_mark(std::string_view text, std::size_t from = 0) const;

 private:
  std::vector<std::byte> bytes_;              ///< of a log that was read
  std::deque<std::vector<std::byte>> added_;  ///< of records that were added
  std::vector<Record> records_;
};

}  // namespace sbench::crash
