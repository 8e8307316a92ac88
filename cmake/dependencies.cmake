# Every library sbench uses, found in one place. Debian 12's versions suffice.
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)             # formatted text
find_package(OpenSSL REQUIRED)         # SHA-256 of layers
find_package(benchmark REQUIRED)       # Google Benchmark: the timing shell
find_package(CLI11 REQUIRED)           # command line
find_package(nlohmann_json REQUIRED)   # result files
find_package(PkgConfig REQUIRED)
pkg_check_modules(xxhash REQUIRED IMPORTED_TARGET libxxhash)       # content comparison
pkg_check_modules(archive REQUIRED IMPORTED_TARGET libarchive)     # layer tars
pkg_check_modules(blkid REQUIRED IMPORTED_TARGET blkid)            # signatures on devices
pkg_check_modules(mount REQUIRED IMPORTED_TARGET mount)            # what is mounted where
pkg_check_modules(uring REQUIRED IMPORTED_TARGET liburing)         # engines' data path
pkg_check_modules(lz4 REQUIRED IMPORTED_TARGET liblz4)             # compression in cow_fs
pkg_check_modules(btrfsutil REQUIRED IMPORTED_TARGET libbtrfsutil) # subvolumes
pkg_check_modules(fuse3 REQUIRED IMPORTED_TARGET fuse3)            # user-space engines, mounted
pkg_check_modules(devmapper REQUIRED IMPORTED_TARGET devmapper)    # dm-thin
pkg_check_modules(sqlite3 REQUIRED IMPORTED_TARGET sqlite3)         # the database of the persistence workloads
