# The Debian packages that the programs link. gRPC is linked statically: dynamic, it costs every
# process 7 ms of start-up; static 1 to 2.

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)

set(static_dir /usr/lib/${CMAKE_LIBRARY_ARCHITECTURE})

# container_static_archive(TARGET ARCHIVE...): an imported target of static archives in one group.
function(container_static_archive target)
  add_library(${target} INTERFACE IMPORTED GLOBAL)
  set(files)
  foreach(name ${ARGN})
    set(file ${static_dir}/lib${name}.a)
    if(NOT EXISTS ${file})
      message(FATAL_ERROR "${file} is missing: run scripts/install-packages build")
    endif()
    list(APPEND files ${file})
  endforeach()
  # One string, because CMake drops flags that come twice, and so the bounds of all groups but one.
  list(JOIN files "," joined)
  target_link_libraries(${target} INTERFACE "-Wl,--start-group,${joined},--end-group")
endfunction()

file(GLOB absl_archives RELATIVE ${static_dir} ${static_dir}/libabsl_*.a)
list(TRANSFORM absl_archives REPLACE "^lib(.*)\\.a$" "\\1")
# Helpers for tests; they need a testing framework of their own.
list(FILTER absl_archives EXCLUDE REGEX "test|mock|scoped_set_env|spinlock_wait_bench")

container_static_archive(dep::absl ${absl_archives})
target_link_libraries(dep::absl INTERFACE Threads::Threads)

set(grpc_archives grpc++_unsecure grpc_unsecure gpr address_sorting upb cares re2 z)
container_static_archive(dep::grpc ${grpc_archives} protobuf ${absl_archives})
target_link_libraries(dep::grpc INTERFACE Threads::Threads)
# For the guest, whose messages are all LITE_RUNTIME.
container_static_archive(dep::protobuf_lite protobuf-lite ${absl_archives})
target_link_libraries(dep::protobuf_lite INTERFACE Threads::Threads)

# Debian has these as shared libraries only.
foreach(name fmt spdlog isal)
  add_library(dep::${name} INTERFACE IMPORTED GLOBAL)
  target_link_libraries(dep::${name} INTERFACE ${name})
endforeach()
target_link_libraries(dep::spdlog INTERFACE dep::fmt Threads::Threads)
target_compile_definitions(dep::spdlog INTERFACE SPDLOG_COMPILED_LIB SPDLOG_SHARED_LIB SPDLOG_FMT_EXTERNAL)

container_static_archive(dep::sqlite sqlite3)
target_link_libraries(dep::sqlite INTERFACE m)
container_static_archive(dep::yaml yaml-cpp)
container_static_archive(dep::zstd zstd)

pkg_check_modules(curl REQUIRED IMPORTED_TARGET GLOBAL libcurl)
add_library(dep::curl ALIAS PkgConfig::curl)
pkg_check_modules(crypto REQUIRED IMPORTED_TARGET GLOBAL libcrypto)
add_library(dep::crypto ALIAS PkgConfig::crypto)

# Header-only: nlohmann-json3-dev, libtomlplusplus-dev, libcli11-dev.

if(BUILD_TESTING)
  find_package(GTest REQUIRED)
endif()
