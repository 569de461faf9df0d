// The small frames a stream begins with, before messages flow: "EXL" version kind, and for hello
// the sender's incarnation (u64, little endian). Longer ones are accepted: later versions may
// append. Pure functions. Only grpc_*.cpp and link_table.cpp include this.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <cstdint>

#include "base/result.h"

namespace exo {

enum class LinkFrame : char { hello = 'H', accepted = 'A', chosen = 'C' };

grpc::ByteBuffer link_frame(LinkFrame kind, uint64_t incarnation = 0);
// The incarnation of a hello, 0 of the others; an error for any other kind than expected.
Result<uint64_t> read_link_frame(const grpc::ByteBuffer& bytes, LinkFrame expected);

}  // namespace exo
