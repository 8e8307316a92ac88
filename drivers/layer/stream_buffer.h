// stream_buffer.h: how much is read or written at once where whole streams pass.
#pragma once

#include <cstddef>

namespace sbench {

#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
/// An address sanitizer maps and unmaps what is large, at every input; and so even small inputs cross a buffer's end.
inline constexpr std::size_t kStreamBufferBytes = 4 << 10;
#else
inline constexpr std::size_t kStreamBufferBytes = 1 << 20;
#endif

}  // namespace sbench
