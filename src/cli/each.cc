#include "cli/each.h"

#include "base/status.h"
#include "cli/output/print.h"
#include "model/container.h"

namespace container::cli {

int ForEach(const std::vector<std::string>& ids,
            const std::function<absl::Status(const std::string& id)>& action) {
  int code = kSuccess;
  for (const std::string& id : ids) {
    const absl::Status status = action(id);
    if (status.ok()) {
      PrintLine(id);
    } else {
      code = Fail(status);
    }
  }
  return code;
}

absl::StatusOr<std::vector<std::string>> ContainerIds(Client& client, bool stopped_too) {
  ASSIGN_OR_RETURN(std::vector<std::string> objects, client.List(stopped_too));
  std::vector<std::string> ids;
  for (const std::string& text : objects) {
    ASSIGN_OR_RETURN(model::ContainerObject object, model::ParseContainerObject(text));
    ids.push_back(object.configuration.id);
  }
  return ids;
}

std::optional<int> CheckIdsOrAll(const OptionParser& parser, const std::vector<std::string>& ids,
                                 bool all) {
  if (all && !ids.empty()) return parser.WrongUsage("--all and CONTAINER exclude each other");
  if (!all && ids.empty()) return parser.WrongUsage("CONTAINER is missing");
  return std::nullopt;
}

}  // namespace container::cli
