// scratch.h: a folder in memory for targets that need files, gone when the program ends.
#pragma once

#include <filesystem>
#include <string>

namespace sbench::fuzz {

/// The program's own, made at the first call.
[[nodiscard]] const std::filesystem::path& scratch_folder();
/// Replaces the file's content.
void put_file(const std::filesystem::path& path, const std::string& content);

}  // namespace sbench::fuzz
