// The messages about files of models: what a neighbour has is not asked of the hub.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/byte_range.h"

namespace exo {

struct FileRequest {
  uint64_t request = 0;           // the asker's number; comes back
  std::string source;             // a model at one commit: "hf.co/ORG/NAME@COMMIT:FILE.gguf"
  std::string file;               // its path inside the repo
  std::vector<ByteRange> wanted;  // which of it do you have, or fetch yourself? In order
  ByteRange read;                 // or, when it is not empty: its bytes, please
};                                // any -> a linked node
struct FileReply {
  uint64_t request = 0;
  std::vector<ByteRange> held;    // of `wanted`, on the sender's disk
  std::vector<ByteRange> coming;  // of `wanted`, being fetched by the sender
  std::vector<std::byte> bytes;   // of `read`: all of them or none; travel as raw bytes
};

}  // namespace exo
