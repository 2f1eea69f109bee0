#include "base/log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>

#include "absl/strings/str_cat.h"
#include "base/fd.h"
#include "base/status.h"
#include "spdlog/sinks/basic_file_sink.h"
#include "spdlog/sinks/stdout_sinks.h"

namespace container::base {

absl::Status InitializeLog(const std::string& program, const std::string& file) {
  try {
    std::shared_ptr<spdlog::logger> logger;
    if (file.empty()) {
      logger = spdlog::stderr_logger_mt(program);
    } else {
      // Made here first, because the sink would make it readable to others.
      ASSIGN_OR_RETURN(Fd made, Open(file, O_WRONLY | O_CREAT | O_APPEND, 0600));
      logger = spdlog::basic_logger_mt(program, file);
    }
    logger->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %L %n[%P] %v", spdlog::pattern_time_type::utc);
    logger->flush_on(spdlog::level::info);
    const char* level = std::getenv("CONTAINER_LOG_LEVEL");
    logger->set_level(level == nullptr ? spdlog::level::info : spdlog::level::from_str(level));
    spdlog::set_default_logger(std::move(logger));
  } catch (const spdlog::spdlog_ex& error) {
    return absl::InternalError(absl::StrCat("open the log ", file, ": ", error.what()));
  }
  return absl::OkStatus();
}

}  // namespace container::base
