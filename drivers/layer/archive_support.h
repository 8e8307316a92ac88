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
/// headers. Inside this scope the thread has the character set it names, whatever
/// the user's locale, so that tars do not depend on the environment. Writing wants
/// "C.UTF-8": names are UTF-8 already. Reading wants "C": UTF-8 to UTF-8 would turn
/// decomposed letters into composed ones, while what "C" cannot hold keeps its bytes.
class CharacterSet {
 public:
  [[nodiscard]] static CharacterSet utf8() {
    static const locale_t locale = ::newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
    return CharacterSet(locale);
  }
  [[nodiscard]] static CharacterSet ascii() {
    static const locale_t locale = ::newlocale(LC_CTYPE_MASK, "C", nullptr);
    return CharacterSet(locale);
  }
  ~CharacterSet() { ::uselocale(before_); }
  CharacterSet(const CharacterSet&) = delete;
  CharacterSet& operator=(const CharacterSet&) = delete;

 private:
  /// A null locale (there is none of that name) leaves the thread's own in place.
  explicit CharacterSet(locale_t locale) : before_(::uselocale(locale)) {}

  locale_t before_;
};

}  // namespace sbench
