// The messages about files of models: what a neighbour has is not asked of the hub.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "core/byte_range.h"
#include "core/ids.h"
#include "core/shard.h"

namespace exo {

struct FileRequest {
  uint64_t request = 0;           // the asker's number; comes back
  std::string source;             // a model at one commit: "hf.co/ORG/NAME@COMMIT:FILE.gguf"
  std::string file;               // its path inside the repo
  std::vector<ByteRange> wanted;  // which of it do you have, or fetch yourself? In order
  ByteRange read;                 // or, when it is not empty: its bytes, please
  ByteRange hash;                 // or: hash on from where it begins, as far as you hold it
  std::string hash_state;         // SHA-256 before that; empty: just say how far it would be
};                                // any -> a linked node
struct FileReply {
  uint64_t request = 0;
  std::vector<ByteRange> held;    // of `wanted`, on the sender's disk
  std::vector<ByteRange> coming;  // of `wanted`, being fetched by the sender
  std::vector<std::byte> bytes;   // of `read`: all of them or none; travel as raw bytes
  uint64_t hashed_end = 0;        // of `hash`: how far
  std::string hash_state;         // SHA-256 there
};

struct FilePart {
  NodeId node;
  ByteRange range;
};
// The hash of a whole file, taken from node to node: are the bytes that these nodes hold the file
// that the hub promised? Whoever found out -> all linked nodes.
struct FileProof {
  std::string source, file;  // as in FileRequest
  bool right = false;
  std::vector<FilePart> parts;  // in order, from the file's begin to its end
};

// A person wants this part of a model on the receiver's disk. The first one with this number
// begins; each, also a later one, is answered by PartStatus.
struct PartRequest {
  uint64_t request = 0;  // the asker's number; comes back
  std::string source;    // as in FileRequest
  Shard shard;           // its model_id: what people call the model
  bool cancel = false;   // what came is kept
};
enum class DownloadState { running, done, failed, cancelled };
struct PartStatus {
  uint64_t request = 0;
  DownloadState state = DownloadState::running;
  Error error;  // failed: why
  uint64_t total_bytes = 0, done_bytes = 0;
  uint64_t fetched_bytes = 0;  // over the network
  double bytes_per_s = 0;
};

}  // namespace exo
