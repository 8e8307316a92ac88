#include "tests/crash/expectation.h"

#include <sqlite3.h>
#include <unistd.h>

#include <algorithm>
#include <sstream>

#include "drivers/base/file.h"

namespace sbench::crash {

namespace {

constexpr std::size_t kSectorBytes = 512;

std::string compare_append(const std::string& content, const FileState& state, const std::string& path,
                           const std::string* base, bool zeros_allowed) {
  std::string due = base != nullptr ? *base : std::string();
  std::size_t acknowledged = due.size();
  for (std::uint64_t version = 1; version <= state.tried; ++version) {
    due += version_content(path, version);
    acknowledged = version <= state.acknowledged ? due.size() : acknowledged;
  }
  if (content.size() < acknowledged) {
    return fmt::format("has {} bytes, {} were acknowledged", content.size(), acknowledged);
  }
  if (content.size() > due.size()) {
    return fmt::format("has {} bytes, {} were ever written", content.size(), due.size());
  }
  for (std::size_t at = 0; at < content.size(); ++at) {
    if (content[at] != due[at] && (at < acknowledged || !zeros_allowed || content[at] != '\0')) {
      return fmt::format("differs at byte {} of {}, {} of them acknowledged", at, content.size(), acknowledged);
    }
  }
  return {};
}

std::string compare_patch(const std::string& content, const FileState& state, const std::string& path,
                          const std::string& base) {
  std::string now = base;
  std::vector<std::string> versions;
  for (std::uint64_t version = 0; version <= state.tried; ++version) {
    if (version > 0) {
      const Patch patch = patch_of(path, version, base.size());
      now.replace(patch.offset, patch.data.size(), patch.data);
    }
    if (version >= state.acknowledged) {
      versions.push_back(now);
    }
  }
  if (content.size() != base.size()) {
    return fmt::format("has {} bytes instead of {}", content.size(), base.size());
  }
  for (std::size_t at = 0; at < content.size(); at += kSectorBytes) {
    const bool known = std::any_of(versions.begin(), versions.end(), [&](const std::string& version) {
      return version.compare(at, kSectorBytes, content, at, kSectorBytes) == 0;
    });
    if (!known) {
      return fmt::format("has at byte {} neither version {} nor a later one", at, state.acknowledged);
    }
  }
  return {};
}

/// The whole content is that of one version, or is not there at one that is not.
std::string compare_swap(const Result<std::string>& content, const FileState& state, const std::string& path,
                         const std::string* base) {
  for (std::uint64_t version = state.acknowledged; version <= state.tried; ++version) {
    const bool there = state.kind == FileKind::spool     ? version % 2 == 1
                       : state.kind == FileKind::removal ? version == 0
                                                         : version > 0 || base != nullptr;
    if (there != content.ok()) {
      continue;
    }
    if (!there || *content == (version == 0 ? *base : version_content(path, version))) {
      return {};
    }
  }
  return content.ok()
             ? fmt::format("holds {} bytes of no version from {} to {}", content->size(), state.acknowledged,
                           state.tried)
             : fmt::format("is not there, version {} was acknowledged: {}", state.acknowledged, content.error().what);
}

/// Opens the database as its next user would: a journal left behind is played back.
std::string compare_rows(const std::string& file, const FileState& state) {
  sqlite3* database = nullptr;
  std::vector<std::string> rows;
  std::string text;
  const auto keep = [](void* into, int, char** columns, char**) {
    static_cast<std::vector<std::string>*>(into)->emplace_back(columns[0] != nullptr ? columns[0] : "");
    return 0;
  };
  std::vector<std::string> sound;
  const bool read = ::sqlite3_open_v2(file.c_str(), &database, SQLITE_OPEN_READWRITE, nullptr) == SQLITE_OK &&
                    ::sqlite3_exec(database, "PRAGMA integrity_check", keep, &sound, nullptr) == SQLITE_OK &&
                    ::sqlite3_exec(database, "SELECT text FROM entry ORDER BY id", keep, &rows, nullptr) == SQLITE_OK;
  if (!read) {
    text = fmt::format("cannot be read by SQLite: {}", ::sqlite3_errmsg(database));
  } else if (sound != std::vector<std::string>{"ok"}) {
    text = "is damaged, says SQLite: " + sound.front();
  } else if (rows.size() < state.acknowledged || rows.size() > state.tried) {
    text = fmt::format("has {} rows, {} were acknowledged, {} tried", rows.size(), state.acknowledged, state.tried);
  }
  for (std::size_t i = 0; i < rows.size() && text.empty(); ++i) {
    text = rows[i] == row_text(i + 1) ? "" : fmt::format("has a wrong row {}", i + 1);
  }
  ::sqlite3_close(database);
  return text;
}

}  // namespace

Expectation Expectation::after(const WriteLog& log, std::size_t at) {
  Expectation made;
  for (std::size_t i = 0; i < std::min(at, log.records().size()); ++i) {
    if (log.records()[i].kind == RecordKind::mark) {
      made.take(std::string(log.records()[i].text()));
    }
  }
  return made;
}

std::shared_ptr<LayerState> Expectation::find(const LayerId& id) const {
  for (auto it = layers_.rbegin(); it != layers_.rend(); ++it) {
    if ((*it)->names.contains(id)) {
      return *it;
    }
  }
  return nullptr;
}

void Expectation::take(const std::string& mark) {
  std::istringstream words(mark);
  std::string verb;
  std::string what;
  words >> verb >> what;
  if (verb == "synced") {
    settle();
  } else if (verb == "layer") {
    std::string name;
    std::string key;
    words >> name >> key;
    if (what == "prepare") {
      auto layer = std::make_shared<LayerState>();
      layer->names = {name};
      layer->is_container = name.find("-pull") == std::string::npos;
      layers_.push_back(std::move(layer));
    } else if (what == "commit") {
      const auto layer = find(key);
      layer->names.insert(name);
      committed_as_[name] = layer;
    } else {
      const auto layer = find(name);
      layer->required = false;
      layer->removing = true;
    }
  } else if (verb == "try" || verb == "did") {
    std::string kind;
    std::uint64_t version = 0;
    std::string path;
    words >> kind >> version >> path;
    FileState& file = find(what)->files[path];
    file.kind = parse_kind(kind);
    (verb == "try" ? file.tried : file.acknowledged) = version;
  }
}

/// Driver::sync() returned: everything that was done is durable.
void Expectation::settle() {
  std::erase_if(layers_, [](const auto& layer) { return layer->removing; });
  for (const auto& [name, layer] : committed_as_) {
    layer->names = {name};
  }
  committed_as_.clear();
  for (const auto& layer : layers_) {
    layer->required = true;
    for (auto& [path, file] : layer->files) {
      file.acknowledged = file.tried;
    }
  }
}

std::string compare_content(const Result<std::string>& content, const std::string& path, const FileState& state,
                            const std::string* base, bool zeros_allowed) {
  if (!content.ok() && content.error().code != ENOENT) {
    return content.error().what;
  }
  switch (state.kind) {
    case FileKind::append:
      if (!content.ok()) {
        return state.acknowledged == 0 && base == nullptr ? "" : content.error().what;
      }
      return compare_append(*content, state, path, base, zeros_allowed);
    case FileKind::patch:
      return content.ok() ? compare_patch(*content, state, path, *base) : content.error().what;
    default:
      return compare_swap(content, state, path, base);
  }
}

std::string compare_file(const std::string& root, const std::string& path, const FileState& state,
                         const std::string* base, bool zeros_allowed) {
  const std::string file = root + "/" + path;
  return state.kind == FileKind::rows ? compare_rows(file, state)
                                      : compare_content(read_text(file), path, state, base, zeros_allowed);
}

}  // namespace sbench::crash
