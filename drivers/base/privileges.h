// privileges.h: which capabilities a process has, and giving up those it has no use for.
//
// Capabilities belong to threads: what is given up is given up by the calling
// thread and those it starts afterwards. A helper does it before it starts any.
#pragma once

#include <linux/capability.h>

#include <cstdint>
#include <string>

namespace sbench {

/// A set of capabilities (capabilities(7)), by number.
class CapabilitySet {
 public:
  constexpr CapabilitySet() = default;
  template <typename... Numbers>
  explicit constexpr CapabilitySet(Numbers... numbers) : bits_(((std::uint64_t{1} << numbers) | ... | 0U)) {}
  /// As "CapEff:" in /proc/PID/status writes it.
  [[nodiscard]] static CapabilitySet from_hex(const std::string& text);
  /// The calling thread's effective ones.
  [[nodiscard]] static CapabilitySet own();

  [[nodiscard]] constexpr std::uint64_t bits() const { return bits_; }
  [[nodiscard]] constexpr bool has(int number) const { return ((bits_ >> number) & 1U) != 0; }
  [[nodiscard]] constexpr bool contains(CapabilitySet other) const { return (other.bits_ & ~bits_) == 0; }
  friend constexpr CapabilitySet operator|(CapabilitySet a, CapabilitySet b) { return of_bits(a.bits_ | b.bits_); }
  friend constexpr CapabilitySet operator-(CapabilitySet a, CapabilitySet b) { return of_bits(a.bits_ & ~b.bits_); }
  /// "CHOWN SYS_ADMIN"; "none" when empty.
  [[nodiscard]] std::string names() const;

 private:
  static constexpr CapabilitySet of_bits(std::uint64_t bits) {
    CapabilitySet set;
    set.bits_ = bits;
    return set;
  }
  std::uint64_t bits_ = 0;
};

/// What handling files of any owner, type and attribute takes: layers are made of such.
inline constexpr CapabilitySet kFileCapabilities{CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER,
                                                 CAP_FSETID, CAP_MKNOD, CAP_SETFCAP};

/// Gives up every capability but `kept`, of those it has, for good: out of the bounding set, too, so that no program
/// it runs gets one back. Only system calls, no memory: may be called between fork and exec.
void keep_only(CapabilitySet kept);
/// From now on no program that is run gains anything from set-user-id bits or file capabilities (PR_SET_NO_NEW_PRIVS).
void refuse_new_privileges();

}  // namespace sbench
