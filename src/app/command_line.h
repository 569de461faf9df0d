// The command line as plain values. parse_command_line() is the only place that knows the parsing
// library; it answers --help and wrong usage by itself and then returns the exit code (0 or 2)
// instead of a command.
#pragma once

#include <string>
#include <variant>
#include <vector>

namespace exo {

// Flags of a node. Names that exo (the Python program) had are kept.
struct NodeFlags {
  std::string node_name;              // --node-id; default: the host's name
  std::string node_host = "0.0.0.0";  // --node-host
  int node_port = 0;                  // --node-port; 0 = any free port
  int listen_port = 5678;             // --listen-port: UDP announcements are heard here
  int broadcast_port = 5678;          // --broadcast-port: and sent there
  std::string discovery_module = "udp";
  std::string discovery_config_path;
  int discovery_timeout_s = 30;
  int wait_for_peers = 0;
  std::string api_host = "127.0.0.1";
  int api_port = 0;  // --chatgpt-api-port; 0 = 52415, or the next free port when another exo has it
  std::string api_key;
  std::string default_model = "demo";
  std::string inference_engine = "cpu";
  int threads = 0;
  bool exact = false;
  std::string quantize;  // "", "q8_0", "q4_0"
  std::string partitioning = "ring-memory-weighted";
  std::string wire_dtype = "f32";
  bool allow_disk = false;
  int context_length = 0;
  int kv_tokens = 0;
  int max_generate_tokens = 10000;
  bool auto_download = true;
  bool offline = false;
  std::string spare_layers = "auto";  // "off"
  std::string system_prompt;
  bool disable_tui = false;
  std::vector<std::string> node_id_filter;
  std::vector<std::string> interface_type_filter;
};

struct RunFlags {
  std::string model;
  std::string prompt;
  bool has_prompt = false;
  std::vector<std::string> images;  // files
  bool stats = false;
  double temperature = -1;  // < 0: the model's own
  int max_tokens = 0;
  long long seed = -1;
};

struct ClusterFlags {
  std::string model;               // load, unload, download, rm
  std::vector<std::string> nodes;  // download
  std::string node;                // revoke
  int wait_nodes = 0;              // nodes --wait N
  int timeout_s = 10;
  bool all_models = false;   // models --all
  bool disk_models = false;  // models --disk
};

struct JoinFlags {
  std::string code;
  bool replace = false;
};

struct BenchFlags {
  std::string model;
  int prompt_tokens = 512;
  int generate_tokens = 128;
  int batch = 1;
  int depth_tokens = 0;
  int repetitions = 3;
  bool read_bandwidth = false;
  bool null_backend = false;
};

struct ConvertFlags {
  std::string source;
  std::string target;    // NAME.gguf, or a folder for safetensors
  std::string quantize;  // "": as stored
  bool force = false;
};

struct DebugFlags {
  std::string what;  // tokenize, template, logits, generate, embed, perplexity
  std::string model;
  std::string tokens;  // "1,2,3"
  std::string token_types;
  std::string text;
  std::string pooling;
  std::vector<std::string> images;  // files
  std::string shards;               // "0:5,5:12"
  std::string out;
  std::string now;
  int count = 32;
  int window = 512;  // tokens
  bool decode = false;
};

struct CommandLine {
  std::string verb;  // serve, run, status, nodes, topology, cluster, models, load, unload,
                     // download, rm, invite, join, revoke, bench, convert, debug
  bool json = false;
  bool log_json = false;
  NodeFlags node;
  RunFlags run;
  ClusterFlags cluster;
  JoinFlags join;
  BenchFlags bench;
  ConvertFlags convert;
  DebugFlags debug;
};

std::variant<CommandLine, int> parse_command_line(int argc, char** argv);

}  // namespace exo
