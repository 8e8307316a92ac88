// archive_support.h: what reading and writing tars through libarchive have in common.
#pragma once

#include <archive.h>
#include <archive_entry.h>
#include <locale.h>

#include <memory>

namespace sbench {

struct ArchiveReadFree {
  void operator()(archive* handle) const { ::archive_read_free(handle); }
};
struct ArchiveWriteFree {
  void operator()(archive* handle) const { ::archive_write_free(handle); }
};
struct ArchiveEntryFree {
  void operator()(archive_entry* entry) const { ::archive_entry_free(entry); }
};
using ArchiveReader = std::unique_ptr<archive, ArchiveReadFree>;
using ArchiveWriter = std::unique_ptr<archive, ArchiveWriteFree>;
using ArchiveEntry = std::unique_ptr<archive_entry, ArchiveEntryFree>;

/// libarchive converts names between the thread's locale and the UTF-8 of pax
/// headers; inside this scope both are UTF-8, whatever the user's locale, so
/// that names keep their bytes and tars do not depend on the environment.
class Utf8Scope {
 public:
  Utf8Scope() : before_(::uselocale(utf8_locale())) {}
  ~Utf8Scope() { ::uselocale(before_); }
  Utf8Scope(const Utf8Scope&) = delete;
  Utf8Scope& operator=(const Utf8Scope&) = delete;

 private:
  static locale_t utf8_locale() {
    static const locale_t locale = ::newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
    return locale;  // null (no such locale) leaves the thread's own in place
  }

  locale_t before_;
};

}  // namespace sbench
