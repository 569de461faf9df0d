#include "app/command_line.h"

#include <CLI/CLI.hpp>

namespace exo {
namespace {

constexpr const char* kIntro =
    R"(exo joins the devices you own into one cluster and runs language models on all of them.

Start here:
  exo                        start a node on this device (API and web page on port 52415)
  exo run demo               chat with the built-in demo model
  exo invite                 print a one-time code that admits another device
  exo join CODE              run there, once; from then on `exo` on it joins by itself)";

constexpr const char* kEnvironment = R"(Environment:
  EXO_HOME          models and caches (~/.cache/exo)
  EXO_MODELS_READ_ONLY_DIRS  further folders with models, separated by ':'
  HF_TOKEN          your token, for gated models (or the file HF_HOME/token)
  HF_ENDPOINT       another hub than https://huggingface.co
  EXO_CONFIG_DIR    the cluster's key and this device's identity (~/.config/exo)
  EXO_CLUSTER_KEY   the cluster's key, for devices without a keyboard
  EXO_API_KEY       the API key of a node that asks for one
  EXO_API_PORT      which local node the commands talk to
  DEBUG=0-9         how much is logged

Exit codes: 0 done, 1 failed, 2 wrong usage.)";

void add_cluster_network_flags(CLI::App& app, NodeFlags& flags) {
  const std::string group = "Cluster";
  app.add_option("--node-id", flags.node_name,
                 "Name of this node, shown to people (default: the host's name)")
      ->group(group);
  app.add_option("--node-host", flags.node_host, "Address the node link listens on")
      ->capture_default_str()
      ->group(group);
  app.add_option("--node-port", flags.node_port, "Port of the node link (default: any free port)")
      ->check(CLI::Range(0, 65535))
      ->group(group);
  app.add_option("--discovery-module", flags.discovery_module, "How nodes find each other")
      ->check(CLI::IsMember({"udp", "manual", "none"}))
      ->capture_default_str()
      ->group(group);
  app.add_option("--discovery-config-path", flags.discovery_config_path,
                 "The peers file of --discovery-module manual (JSON)")
      ->group(group);
  app.add_option("--discovery-timeout", flags.discovery_timeout_s,
                 "Forget a found peer that never answers after so many seconds")
      ->capture_default_str()
      ->group(group);
  app.add_option("--listen-port", flags.listen_port, "UDP port to hear announcements on")
      ->check(CLI::Range(1, 65535))
      ->capture_default_str()
      ->group(group);
  app.add_option("--broadcast-port", flags.broadcast_port, "UDP port to announce to")
      ->check(CLI::Range(1, 65535))
      ->capture_default_str()
      ->group(group);
  app.add_option("--wait-for-peers", flags.wait_for_peers,
                 "Wait until so many peers are linked before serving")
      ->capture_default_str()
      ->group(group);
  app.add_option("--node-id-filter", flags.node_id_filter,
                 "Link only these nodes (names or ids, comma separated)")
      ->delimiter(',')
      ->group(group);
  app.add_option("--interface-type-filter", flags.interface_type_filter,
                 "Use only these interfaces: thunderbolt, ethernet, wifi, loopback, other")
      ->delimiter(',')
      ->group(group);
}

void add_model_flags(CLI::App& app, NodeFlags& flags) {
  const std::string group = "Models";
  app.add_option("--default-model", flags.default_model, "Model of requests that name none")
      ->capture_default_str()
      ->group(group);
  app.add_option("--inference-engine", flags.inference_engine,
                 "What computes: cpu, or reference (slow and plain, for checking)")
      ->check(CLI::IsMember({"cpu", "reference"}))
      ->capture_default_str()
      ->group(group);
  app.add_option("--threads", flags.threads, "Compute threads (default: all cores)")
      ->check(CLI::Range(0, 1024))
      ->group(group);
  app.add_option("--quantize", flags.quantize,
                 "Quantise weights while loading, on every node of the placement")
      ->check(CLI::IsMember({"q8_0", "q4_0"}))
      ->group(group);
  app.add_flag("--exact", flags.exact, "Compute in float32 and never quantise activations")
      ->group(group);
  app.add_option("--partitioning", flags.partitioning,
                 "ring-memory-weighted, single, or manual:0-5,6-11")
      ->capture_default_str()
      ->group(group);
  app.add_option("--wire-dtype", flags.wire_dtype, "Hidden states between nodes travel as")
      ->check(CLI::IsMember({"f32", "bf16"}))
      ->capture_default_str()
      ->group(group);
  app.add_flag("--allow-disk", flags.allow_disk,
               "Place a model that exceeds memory: weights are read from disk as needed, slowly")
      ->group(group);
  app.add_option("--context-length", flags.context_length,
                 "Tokens one conversation may have (default: the model's, as memory allows)")
      ->check(CLI::NonNegativeNumber)
      ->group(group);
  app.add_option("--kv-tokens", flags.kv_tokens,
                 "Tokens all conversations together may hold (default: as memory allows)")
      ->check(CLI::NonNegativeNumber)
      ->group(group);
  app.add_option("--max-generate-tokens", flags.max_generate_tokens,
                 "Longest answer when the request sets no limit")
      ->capture_default_str()
      ->group(group);
  app.add_flag("--auto-download,!--no-auto-download", flags.auto_download,
               "Fetch a model that is asked for and is not here (default: on)")
      ->group(group);
  app.add_flag("--offline", flags.offline, "Fetch nothing from the internet")->group(group);
  app.add_option(
         "--spare-layers", flags.spare_layers,
         "Copy the next node's layers onto this disk while nothing is asked, so that a node "
         "that dies is missed less: auto or off")
      ->check(CLI::IsMember({"auto", "off"}))
      ->capture_default_str()
      ->group(group);
  app.add_option("--system-prompt", flags.system_prompt, "System message for chats that have none")
      ->group(group);
}

void add_api_flags(CLI::App& app, NodeFlags& flags) {
  const std::string group = "API";
  app.add_option("--chatgpt-api-port", flags.api_port,
                 "Port of the API and the web page (default 52415)")
      ->check(CLI::Range(1, 65535))
      ->group(group);
  app.add_option("--api-host", flags.api_host,
                 "Address of the API; 0.0.0.0 serves the network and needs --api-key")
      ->capture_default_str()
      ->group(group);
  app.add_option("--api-key", flags.api_key, "Key that clients must send")
      ->envname("EXO_API_KEY")
      ->group(group);
}

void add_node_flags(CLI::App& app, NodeFlags& flags) {
  add_api_flags(app, flags);
  add_model_flags(app, flags);
  add_cluster_network_flags(app, flags);
  app.add_flag("--disable-tui", flags.disable_tui, "Plain lines only")->group("Cluster");
}

CLI::App* add_verb(CLI::App& app, CommandLine& out, const char* name, const char* what,
                   const char* examples) {
  CLI::App* verb = app.add_subcommand(name, what);
  verb->footer(std::string("Examples:\n") + examples);
  verb->callback([&out, name] { out.verb = name; });
  return verb;
}

void add_json(CLI::App* verb, CommandLine& out) {
  verb->add_flag("--json", out.json, "Print JSON for machines");
}

void add_serve_and_run(CLI::App& app, CommandLine& out) {
  CLI::App* serve = add_verb(
      app, out, "serve", "Start a node (the same as plain `exo`)",
      "  exo serve\n  exo serve --api-host 0.0.0.0 --api-key SECRET    reachable from a phone\n"
      "  exo serve --discovery-module manual --discovery-config-path peers.json");
  add_node_flags(*serve, out.node);
  CLI::App* run =
      add_verb(app, out, "run", "Ask a model once, or chat with it",
               "  exo run demo\n  exo run demo --prompt \"What is exo?\"\n"
               "  exo run llama-3.2-3b            downloaded first where it is not here\n"
               "  exo run ~/models/Llama-3.2-1B-Instruct --stats\n"
               "  cat notes.txt | exo run demo --prompt \"Summarise:\"\n"
               "  exo run ~/models/llava-1.5-7b-hf --image cat.jpg --prompt \"What is it?\"");
  run->add_option("model", out.run.model,
                  "demo, a model's name (exo models --all), hf.co/ORG/NAME[:QUANTISATION], a "
                  "checkpoint folder or a .gguf file")
      ->required();
  CLI::Option* prompt =
      run->add_option("-p,--prompt", out.run.prompt,
                      "Answer this and exit (standard input is appended when piped)");
  run->add_option("--image", out.run.images,
                  "A picture (PNG, JPEG, WebP, GIF) for a model that sees; may be repeated")
      ->allow_extra_args(false)
      ->check(CLI::ExistingFile);
  run->add_flag("--stats", out.run.stats,
                "Print time to first token and tokens per second to stderr");
  run->add_option("--temperature", out.run.temperature, "0 = always the likeliest token")
      ->check(CLI::Range(0.0, 2.0));
  run->add_option("--max-tokens", out.run.max_tokens, "Longest answer")->check(CLI::PositiveNumber);
  run->add_option("--seed", out.run.seed, "Same seed, same answer")->check(CLI::NonNegativeNumber);
  add_json(run, out);
  add_node_flags(*run, out.node);
  run->callback([&out, prompt] {
    out.verb = "run";
    out.run.has_prompt = prompt->count() > 0;
  });
}

void add_cluster_verbs(CLI::App& app, CommandLine& out) {
  add_json(add_verb(app, out, "status", "What runs here: node, models, requests",
                    "  exo status\n  exo status --json"),
           out);
  CLI::App* nodes = add_verb(app, out, "nodes", "Who is in the cluster",
                             "  exo nodes\n  exo nodes --wait 3 --timeout 20");
  nodes
      ->add_option("--wait", out.cluster.wait_nodes,
                   "Wait until so many nodes are here, else exit with 1")
      ->check(CLI::PositiveNumber);
  nodes->add_option("--timeout", out.cluster.timeout_s, "How long to wait, in seconds")
      ->capture_default_str();
  add_json(nodes, out);
  add_json(add_verb(app, out, "topology", "Draw the ring: nodes, layers, memory, links",
                    "  exo topology"),
           out);
  add_json(add_verb(app, out, "cluster",
                    "The cluster: identity, members, devices nearby that belong to others",
                    "  exo cluster"),
           out);
  CLI::App* models = add_verb(app, out, "models", "Models on this device and in the cluster",
                              "  exo models\n  exo models --all     also what can be downloaded\n"
                              "  exo models --disk    what lies on this disk, and how large it is");
  models->add_flag("--all", out.cluster.all_models,
                   "Also the models that can be downloaded, and whether they fit");
  models->add_flag("--disk", out.cluster.disk_models,
                   "What this device's disk holds (needs no running node)");
  add_json(models, out);
  CLI::App* download = add_verb(app, out, "download", "Fetch a model before it is asked for",
                                "  exo download llama-3.2-3b\n  exo download llama-3.2-3b:bf16\n"
                                "  exo download llama-3.2-3b --nodes desk,laptop\n"
                                "  exo download hf.co/bartowski/Llama-3.2-3B-Instruct-GGUF:Q5_K_M");
  download
      ->add_option("model", out.cluster.model,
                   "A card's name (exo models --all), or hf.co/ORG/NAME[:QUANTISATION or FILE]")
      ->required();
  download
      ->add_option("--nodes", out.cluster.nodes,
                   "Nodes that shall hold its layers, by name or id: A,B (all that are here)")
      ->delimiter(',');
  download->add_flag("--offline", out.node.offline, "Fetch nothing, only check what is here");
  add_json(download, out);
  CLI::App* remove = add_verb(app, out, "rm", "Remove a downloaded model from this device",
                              "  exo rm llama-3.2-3b");
  remove->add_option("model", out.cluster.model, "As `exo models` shows it")->required();
  add_json(remove, out);
  CLI::App* load = add_verb(app, out, "load", "Load a model over the cluster before it is asked",
                            "  exo load demo");
  load->add_option("model", out.cluster.model, "As for `exo run`")->required();
  add_json(load, out);
  CLI::App* unload =
      add_verb(app, out, "unload", "Free a model's memory on every node", "  exo unload demo");
  unload->add_option("model", out.cluster.model, "As for `exo run`")->required();
}

void add_admission_verbs(CLI::App& app, CommandLine& out) {
  add_json(add_verb(app, out, "invite", "Print a one-time code that admits another device",
                    "  exo invite          then, on the other device: exo join CODE"),
           out);
  CLI::App* join = add_verb(app, out, "join", "Join the cluster that printed CODE",
                            "  exo join exo1-...   and then start the node: exo");
  join->add_option("code", out.join.code, "What `exo invite` printed")->required();
  join->add_flag("--replace", out.join.replace,
                 "Leave the cluster this device belongs to now (its key is kept as a backup)");
  CLI::App* revoke = add_verb(app, out, "revoke", "Shut a device out of the cluster for good",
                              "  exo revoke 3f2a...   (the id that `exo nodes` shows)");
  revoke->add_option("node", out.cluster.node, "Node id or name")->required();
}

void add_convert(CLI::App& app, CommandLine& out) {
  CLI::App* convert = add_verb(
      app, out, "convert", "Write a model in another format: a .gguf file, or safetensors",
      "  exo convert ~/models/Llama-3.2-1B-Instruct llama.gguf\n"
      "  exo convert ~/models/Llama-3.2-1B-Instruct llama-q4.gguf --quantize q4_k\n"
      "  exo convert model-bf16.gguf model-q8.gguf --quantize q8_0\n"
      "  exo convert ~/models/Qwen3-4B-AWQ ~/models/Qwen3-4B-f16 --quantize f16\n"
      "The first is what `exo run` takes. A target that does not end in .gguf is a folder.");
  convert->add_option("source", out.convert.source, "As for `exo run`")->required();
  convert->add_option("target", out.convert.target, "NAME.gguf, or a folder for safetensors")
      ->required();
  convert
      ->add_option("--quantize", out.convert.quantize,
                   "What matrices become (default: as they are stored)")
      ->check(CLI::IsMember(
          {"f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q4_k", "q5_k", "q6_k"}));
  convert->add_flag("--force", out.convert.force, "Replace a target that is there");
  convert->add_option("--threads", out.node.threads, "Threads (default: all cores)")
      ->check(CLI::Range(0, 1024));
  add_json(convert, out);
}

void add_bench(CLI::App& app, CommandLine& out) {
  CLI::App* bench =
      add_verb(app, out, "bench", "Measure prefill and decode on this device",
               "  exo bench demo\n  exo bench model.gguf -p 512 -n 128 -b 8 --threads 4 --json");
  bench->add_option("model", out.bench.model, "As for `exo run`")->required();
  bench->add_option("-p", out.bench.prompt_tokens, "Prompt tokens")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  bench->add_option("-n", out.bench.generate_tokens, "Generated tokens")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  bench->add_option("-b", out.bench.batch, "Sequences decoded together")
      ->check(CLI::Range(1, 512))
      ->capture_default_str();
  bench->add_option("-d", out.bench.depth_tokens, "Tokens of context before both, not timed")
      ->check(CLI::Range(0, 1 << 24))
      ->capture_default_str();
  bench->add_option("-r", out.bench.repetitions, "Repetitions; the median is reported")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  bench->add_flag("--read-bandwidth", out.bench.read_bandwidth,
                  "Also read as much memory as the weights take, plainly: the limit of decode");
  bench->add_flag("--null", out.bench.null_backend,
                  "Compute nothing: the cost of everything around the arithmetic");
  add_json(bench, out);
  add_model_flags(*bench, out.node);
}

void add_debug(CLI::App& app, CommandLine& out) {
  CLI::App* debug =
      add_verb(app, out, "debug",
               "Probes for maintainers: tokenize, template, logits, generate, embed, perplexity",
               "  exo debug tokenize --model DIR < texts.jsonl\n"
               "  exo debug template --model DIR --now 2025-03-09T14:05:07 < conversations.jsonl\n"
               "  exo debug logits --model DIR --tokens 1,2,3 --out logits.npy --exact\n"
               "  exo debug generate --model DIR --tokens 1,2,3 -n 32 --shards 0:5,5:12\n"
               "  exo debug embed --model DIR --text 'A sentence' --out embedding.npy --exact\n"
               "  exo debug perplexity --model model-q4_k.gguf < text.txt");
  debug
      ->add_option("what", out.debug.what,
                   "tokenize, template, logits, generate, embed or perplexity")
      ->required()
      ->check(CLI::IsMember({"tokenize", "template", "logits", "generate", "embed", "perplexity"}));
  debug->add_option("--model", out.debug.model, "Checkpoint folder or .gguf file")->required();
  debug->add_option("--tokens", out.debug.tokens, "Token ids, comma separated");
  debug->add_option("--shards", out.debug.shards,
                    "Run through several shards in this process, e.g. 0:5,5:12");
  debug->add_option("--out", out.debug.out,
                    "logits, embed: the .npy file to write, float32 [tokens, vocab], [hidden] or "
                    "[tokens, hidden]");
  debug
      ->add_option("--image", out.debug.images,
                   "logits, generate: a picture (PNG, JPEG, WebP, GIF), once for each that the "
                   "image tokens in --tokens stand for")
      ->allow_extra_args(false)
      ->check(CLI::ExistingFile);
  debug->add_option("--text", out.debug.text,
                    "embed, perplexity: a text in place of --tokens (perplexity: or of standard "
                    "input)");
  debug
      ->add_option("--window", out.debug.window,
                   "perplexity: tokens that see each other; at most the model's context")
      ->check(CLI::Range(2, 1 << 20))
      ->capture_default_str();
  debug->add_option("--token-types", out.debug.token_types, "embed: one for each of --tokens");
  debug
      ->add_option("--pooling", out.debug.pooling,
                   "embed: mean, cls, pooler, or none for a row of each token; "
                   "default: as the model says")
      ->check(CLI::IsMember({"mean", "cls", "pooler", "none"}));
  debug->add_option("--now", out.debug.now,
                    "template: the time strftime_now sees, ISO 8601, local");
  debug->add_option("-n", out.debug.count, "generate: how many tokens")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  debug->add_flag("--decode", out.debug.decode, "tokenize: the way back, {\"ids\"} to {\"text\"}");
  add_model_flags(*debug, out.node);
}

}  // namespace

std::variant<CommandLine, int> parse_command_line(int argc, char** argv) {
  CommandLine out;
  out.verb = "serve";
  CLI::App app(kIntro, "exo");
  app.footer(kEnvironment);
  app.require_subcommand(0, 1);
  app.set_version_flag("--version", std::string("exo ") + EXO_VERSION);
  app.add_flag("--log-json", out.log_json, "Log lines as JSON objects");
  app.fallthrough();
  add_node_flags(app, out.node);
  add_serve_and_run(app, out);
  add_cluster_verbs(app, out);
  add_admission_verbs(app, out);
  add_convert(app, out);
  add_bench(app, out);
  add_debug(app, out);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return out;
}

}  // namespace exo
