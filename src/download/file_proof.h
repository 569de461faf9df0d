// prove_file(): whether the bytes that the nodes of a cluster hold of one file make the file that
// the hub promised, although no node holds all of it: the state of its SHA-256 goes from holder to
// holder in the order of the file. Blocking; ends soon after stop() is true.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "core/file_messages.h"
#include "download/neighbours.h"

namespace exo {

// Nothing when a byte of it is nowhere now, or when it was stopped. `oid`: "sha256:HEX".
std::optional<FileProof> prove_file(Neighbours& neighbours, const FileName& name,
                                    uint64_t file_bytes, const std::string& oid,
                                    const std::function<bool()>& stop);

// Which bytes of `part` its node and `other` hold alike, in pieces of 16 MiB; nothing when one of
// them does not answer.
struct Comparison {
  RangeSet alike, different;
};
std::optional<Comparison> compare(Neighbours& neighbours, const FileName& name,
                                  const FilePart& part, const NodeId& other,
                                  const std::function<bool()>& stop);

}  // namespace exo
