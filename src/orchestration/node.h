// Node: one participant, as the API and the command line see it. Two implementations: LocalNode
// (the real one: discovery, links, engine threads) and FakeNode in tests. All calls are thread-safe
// and return quickly; what takes long (placing, loading, answering) happens behind a TokenStream.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "core/generation.h"
#include "core/model_card.h"
#include "download/downloads.h"
#include "orchestration/core.h"
#include "orchestration/part_downloads.h"
#include "text/output_syntax.h"
#include "text/tokenizer.h"

namespace exo {

// The asker's end of one request. Pull, not push: dropping it cancels along the ring within one
// token. One consumer thread; the waker may be called from any thread, also before set_waker
// returns, and must not block.
class TokenStream {
 public:
  struct Item {
    enum class Kind { notice, tokens, failed } kind = Kind::notice;
    std::string notice;     // progress for people (placing, loading, moving after a node's death)
    TokenEvent tokens;      // the last one has finish set
    Error error;            // failed: nothing follows
    int cached_tokens = 0;  // tokens: of the prompt, taken from the prefix cache
  };
  virtual ~TokenStream() = default;  // cancels when not finished
  virtual std::optional<Item>
  try_next() = 0;  // nothing now (see waker), or nothing ever after the last
  virtual std::optional<Item> next(int timeout_ms) = 0;     // waits
  virtual void set_waker(std::function<void()> waker) = 0;  // something can be taken
};

// A request that passed the checks: the model exists, the prompt was rendered and fits its context.
struct StartedGeneration {
  std::unique_ptr<TokenStream> stream;
  std::shared_ptr<const Tokenizer> tokenizer;
  ModelCard card;
  int prompt_tokens = 0;
  SamplingParams sampling;  // as used, max_tokens and seed filled in
  OutputSyntax syntax;      // of a chat: how this model writes thinking and tool calls
  std::string opened;       // the mark of thinking that the prompt ends with
};

struct ModelStatus {
  ModelCard card;
  bool loaded = false;  // a ready placement exists
  std::string source;   // folder or file
  // Of the weight files, where they were fetched from a hub: not all of them need be here.
  uint64_t held_bytes = 0, file_bytes = 0;
  bool downloading = false;
};

struct ForeignNode {
  std::string cluster_id, name, host;
};

struct NodeStatus {
  CoreView core;
  std::string cluster_id;
  std::string version;
  std::string engine;  // backend in use
  uint16_t api_port = 0;
  std::vector<std::string> api_urls;  // loopback first, LAN addresses when bound to them
  uint16_t node_port = 0;
  int64_t started_wall_ms = 0;
  std::vector<ForeignNode> foreign;  // nodes of other clusters nearby
  uint64_t tokens_generated = 0;
  uint64_t prompt_tokens_processed = 0;
  uint64_t requests_started = 0, requests_failed = 0;
};

class Node {
 public:
  virtual ~Node() = default;
  // Errors: not_found (model), invalid_argument (template or prompt), resource_exhausted with code
  // in message "maximum context length" when the prompt does not fit.
  virtual Result<StartedGeneration> generate(GenerationRequest request) = 0;
  virtual std::vector<ModelStatus> models() const = 0;
  virtual Result<ModelCard> find_model(
      const std::string& model) const = 0;  // id, alias, folder path; "" = the default model
  virtual Result<std::shared_ptr<const Tokenizer>> tokenizer(const std::string& model) const = 0;
  virtual Result<std::string> render_prompt(const GenerationRequest& request) const = 0;
  virtual NodeStatus status() const = 0;
  virtual Result<std::string> create_invite() = 0;  // a one-time code for `exo join`
  // What the model's generation_config asks for where a request leaves a field out (API defaults
  // else).
  virtual SamplingParams sampling_defaults(const std::string& model) const = 0;
  // A checkpoint folder or .gguf file that the person at this device named; its id can be used from
  // then on.
  virtual Result<ModelCard> add_model(const std::string& path) = 0;
  // Notices while it is placed and loaded; ends with a tokens item without ids and finish == stop,
  // or failed.
  virtual Result<std::unique_ptr<TokenStream>> load_model(const std::string& model) = 0;
  virtual Result<void> unload_model(const std::string& model) = 0;  // on every node
  virtual Result<void> revoke(
      const std::string& node) = 0;  // id or name: shut out of the cluster for good

  // What can be fetched, and what is being fetched. A node may have no downloads.
  virtual const ModelCatalog& catalog() const {
    static const ModelCatalog none;
    return none;
  }
  virtual Downloads* downloads() const { return nullptr; }
  // A download of this node and others, each its own layers. The model's headers are here already.
  // `nodes`: names or ids; empty = all that are here.
  virtual Result<uint64_t> download_parts(const std::string&, const std::vector<std::string>&) {
    return unsupported("this node does not download");
  }
  virtual PartDownloads* parts() const { return nullptr; }  // those downloads
  // The download that brings what is needed to answer with a model which is not here, where one is
  // known and may be started without asking. Nothing to wait for when it is here; what is not known
  // is left to find_model to say.
  virtual Result<std::optional<uint64_t>> bring_model(const std::string&) {
    return std::optional<uint64_t>();
  }
  // From the downloads folder. How many bytes that frees.
  virtual Result<uint64_t> remove_model(const std::string&) {
    return unsupported("this node keeps no models");
  }

  // A new snapshot may be worth showing; used by the page's event stream.
  virtual uint64_t status_version() const = 0;
};

}  // namespace exo
