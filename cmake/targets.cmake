# The functions that declare what is built. Programs land where 'make install' would put them below
# its prefix (build/bin, build/libexec/container/plugins/<name>), so that they run in place.

set(CONTAINER_SANITIZER "" CACHE STRING "Sanitizers of the host's programs: address,undefined or thread")

add_library(container_flags INTERFACE)
target_compile_options(container_flags INTERFACE
  -Wall -Wextra -Werror
  $<$<COMPILE_LANGUAGE:CXX>:-Wno-missing-field-initializers>)
target_include_directories(container_flags INTERFACE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/tests)
target_compile_definitions(container_flags INTERFACE _GNU_SOURCE _FILE_OFFSET_BITS=64)

if(CONTAINER_SANITIZER)
  add_compile_options(-fsanitize=${CONTAINER_SANITIZER} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${CONTAINER_SANITIZER})
endif()

option(CONTAINER_FUZZ "Instruments everything for the fuzz targets; needs clang" OFF)
if(CONTAINER_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link,address -fno-omit-frame-pointer -Wno-error)
  add_link_options(-fsanitize=address)
endif()

# container_library(NAME [SOURCES FILE...] [DEPS TARGET...])
function(container_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS" ${ARGN})
  if(arg_SOURCES)
    add_library(${name} STATIC ${arg_SOURCES})
    target_link_libraries(${name} PUBLIC container_flags ${arg_DEPS})
  else()
    add_library(${name} INTERFACE)
    target_link_libraries(${name} INTERFACE container_flags ${arg_DEPS})
  endif()
endfunction()

# container_program(NAME SOURCES FILE... [DEPS TARGET...]): build/bin/NAME, installed to bin/.
function(container_program name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE container_flags ${arg_DEPS})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
  add_dependencies(programs ${name})
  install(TARGETS ${name} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endfunction()

# container_plugin(NAME SOURCES FILE... [DEPS TARGET...]): a helper, with the config.toml that lies
# beside its CMakeLists.txt.
function(container_plugin name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS" ${ARGN})
  set(folder libexec/container/plugins/${name})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE container_flags ${arg_DEPS})
  set_target_properties(${name} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/${folder}/bin)
  add_dependencies(programs ${name})
  configure_file(config.toml ${CMAKE_BINARY_DIR}/${folder}/config.toml COPYONLY)
  install(TARGETS ${name} RUNTIME DESTINATION ${folder}/bin)
  install(FILES config.toml DESTINATION ${folder})
endfunction()

# container_test(NAME SOURCES FILE... [DEPS TARGET...] [LABEL unit|integration|vm|e2e]
#                [TIMEOUT SECONDS]): a GoogleTest program; one ctest entry for the program.
function(container_test name)
  if(NOT BUILD_TESTING)
    return()
  endif()
  cmake_parse_arguments(arg "" "LABEL;TIMEOUT" "SOURCES;DEPS" ${ARGN})
  if(NOT arg_LABEL)
    set(arg_LABEL unit)
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE container_flags ${arg_DEPS} GTest::gmock GTest::gtest_main)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  if(arg_LABEL STREQUAL unit)
    add_dependencies(unit_tests ${name})
  endif()
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES
    LABELS ${arg_LABEL} TIMEOUT ${arg_TIMEOUT}
    ENVIRONMENT "CONTAINER_SOURCE_DIR=${CMAKE_SOURCE_DIR};CONTAINER_BUILD_DIR=${CMAKE_BINARY_DIR}")
endfunction()

# container_proto(NAME DEPS TARGET... [GRPC] [LITE]): library proto_NAME from proto/NAME.proto;
# its headers are "proto/NAME.pb.h" and, with GRPC, "proto/NAME.grpc.pb.h".
function(container_proto name)
  cmake_parse_arguments(arg "GRPC;LITE" "" "DEPS" ${ARGN})
  set(out ${CMAKE_BINARY_DIR}/gen)
  set(input ${CMAKE_SOURCE_DIR}/proto/${name}.proto)
  set(outputs ${out}/proto/${name}.pb.cc ${out}/proto/${name}.pb.h)
  set(flags --cpp_out=${out})
  if(arg_GRPC)
    list(APPEND outputs ${out}/proto/${name}.grpc.pb.cc ${out}/proto/${name}.grpc.pb.h)
    list(APPEND flags --grpc_out=${out} --plugin=protoc-gen-grpc=${GRPC_CPP_PLUGIN})
  endif()
  add_custom_command(
    OUTPUT ${outputs}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${out}
    COMMAND ${PROTOC} -I${CMAKE_SOURCE_DIR} ${flags} ${input}
    DEPENDS ${input}
    COMMENT "Generating ${name}.proto"
    VERBATIM)
  add_library(proto_${name} STATIC ${outputs})
  target_include_directories(proto_${name} SYSTEM PUBLIC ${out})
  target_link_libraries(proto_${name} PUBLIC ${arg_DEPS})
  if(NOT arg_LITE)
    target_link_libraries(proto_${name} PUBLIC dep::grpc)
  endif()
endfunction()

find_program(PROTOC protoc REQUIRED)
find_program(GRPC_CPP_PLUGIN grpc_cpp_plugin REQUIRED)

execute_process(
  COMMAND git rev-parse --short=12 HEAD
  WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}
  OUTPUT_VARIABLE CONTAINER_COMMIT OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT CONTAINER_COMMIT)
  set(CONTAINER_COMMIT unknown)
endif()

# What 'make build' and 'make test-unit' build; the functions above add to them.
add_custom_target(programs)
add_custom_target(unit_tests)
