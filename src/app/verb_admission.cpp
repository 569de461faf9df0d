// exo invite, join, revoke: who belongs to the cluster.
#include <fmt/core.h>

#include <cstdio>

#include "app/api_client.h"
#include "app/console.h"
#include "app/paths.h"
#include "app/verbs.h"
#include "inference/device_probe.h"
#include "networking/admission.h"

namespace exo {
namespace {

Result<std::string> ask_for_code() {
  const ApiClient client = TRY(find_local_node());
  const Json answer = TRY(client.post("/v1/cluster/invite", JsonObject{}));
  if (!answer.is_object()) return corrupt("the node's answer holds no code");
  return TRY(get_string(answer.get_object(), "code")).value_or("");
}

}  // namespace

int run_invite(const CommandLine& line) {
  const Result<std::string> code = ask_for_code();
  if (!code.ok()) return fail(code.error());
  if (line.json) {
    print_json(JsonObject{{"code", *code}, {"command", "exo join " + *code}});
    return 0;
  }
  std::printf(
      "On the other device, within 15 minutes:\n\n  exo join %s\n\nThe code admits one device, "
      "once.\n",
      code->c_str());
  return 0;
}

int run_join(const CommandLine& line) {
  JoinOptions options;
  options.code = line.join.code;
  options.config_dir = config_dir();
  options.name = probe_device().host_name;
  options.replace = line.join.replace;
  const Result<Joined> joined = join(options);
  if (!joined.ok()) return fail(joined.error());
  if (joined->was_member) {
    std::printf("This device is a member of cluster %s already.\n", joined->cluster_id.c_str());
    return 0;
  }
  std::printf("This device belongs to cluster %s now. Start its node: exo\n",
              joined->cluster_id.c_str());
  return 0;
}

int run_revoke(const CommandLine& line) {
  const Result<ApiClient> client = find_local_node();
  if (!client.ok()) return fail(client.error());
  const Result<Json> answer =
      client->post("/v1/cluster/revoke", JsonObject{{"node", line.cluster.node}});
  if (!answer.ok()) return fail(answer.error());
  std::printf(
      "%s is shut out. Whoever held it knows the cluster's key: if it was stolen, make a new "
      "cluster\n"
      "(exo join --replace on each device you keep).\n",
      line.cluster.node.c_str());
  return 0;
}

}  // namespace exo
