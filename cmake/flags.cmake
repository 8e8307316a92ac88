# How every target is compiled; sanitizers come from the presets (SBENCH_SANITIZE).
set(SBENCH_SANITIZE "" CACHE STRING "address,undefined | thread | empty")
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

function(sbench_flags target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF)
  target_include_directories(${target} PUBLIC ${CMAKE_SOURCE_DIR})
  target_compile_definitions(${target} PUBLIC _GNU_SOURCE _FILE_OFFSET_BITS=64)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual
    -Wno-missing-field-initializers)
  if(SBENCH_SANITIZE)
    target_compile_options(${target} PUBLIC -fsanitize=${SBENCH_SANITIZE} -fno-omit-frame-pointer
      -fno-sanitize-recover=all -Wno-maybe-uninitialized)  # GCC 12 takes its own instrumentation for uses
    target_link_options(${target} PUBLIC -fsanitize=${SBENCH_SANITIZE})
  endif()
  if(SBENCH_SANITIZE STREQUAL "address,undefined")
    # Every check of UBSan has a place with pointers: two million that a program at no fixed address corrects whenever it
    # starts, which each test does: half a second, half of it for that.
    target_compile_options(${target} PUBLIC -fno-pie)
    target_link_options(${target} PUBLIC -no-pie)
  endif()
endfunction()
