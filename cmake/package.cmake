# What `cmake --install` and CPack put where. The program finds share/sbench beside its own bin/.
#   cpack -G DEB --config build/release/CPackConfig.cmake -B build/package
include(GNUInstallDirs)
set(CMAKE_SKIP_INSTALL_ALL_DEPENDENCY ON)  # packages need the program, not the tests

set(completion_files)
foreach(shell IN ITEMS bash zsh fish)
  set(file ${CMAKE_BINARY_DIR}/completion/sbench.${shell})
  add_custom_command(OUTPUT ${file} DEPENDS sbench
    COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/completion
    COMMAND sbench completion ${shell} > ${file} VERBATIM)
  list(APPEND completion_files ${file})
endforeach()
add_custom_target(sbench_completion ALL DEPENDS ${completion_files})

install(TARGETS sbench RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY examples/two-apps DESTINATION ${CMAKE_INSTALL_DATADIR}/sbench/examples)
install(DIRECTORY images/profiles DESTINATION ${CMAKE_INSTALL_DATADIR}/sbench/images FILES_MATCHING PATTERN "*.json")
install(DIRECTORY reports DESTINATION ${CMAKE_INSTALL_DATADIR}/sbench PATTERN "__pycache__" EXCLUDE)
install(PROGRAMS harness/guest/uml_zfs harness/guest/uml_ublk DESTINATION ${CMAKE_INSTALL_DATADIR}/sbench/harness/guest)
install(FILES harness/guest/uml_kernel.py DESTINATION ${CMAKE_INSTALL_DATADIR}/sbench/harness/guest)
install(FILES docs/sbench.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES README.md LICENSE docs/measuring.md docs/reports.md docs/peers.md docs/nightly.md docs/uml.md docs/safety.md docs/checks.md DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/sbench)
set(completion ${CMAKE_BINARY_DIR}/completion/sbench)
install(FILES ${completion}.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME sbench)
install(FILES ${completion}.zsh DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions RENAME _sbench)
install(FILES ${completion}.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
install(PROGRAMS ci/sbench-nightly DESTINATION ${CMAKE_INSTALL_BINDIR})
file(GLOB units CONFIGURE_DEPENDS ci/systemd/*.service ci/systemd/*.timer)
if(units)
  install(FILES ${units} DESTINATION lib/systemd/system)
endif()

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME sbench)
set(CPACK_PACKAGE_CONTACT "sbench <sbench@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY ${PROJECT_DESCRIPTION})
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION utils)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "python3, python3-numpy, python3-jinja2, python3-jsonschema, e2fsprogs, util-linux")
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "python3-matplotlib, python3-scipy, python3-sqlalchemy, python3-psycopg2, xfsprogs, btrfs-progs, fuse3")
include(CPack)
