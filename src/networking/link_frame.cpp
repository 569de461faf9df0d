#include "networking/link_frame.h"

#include <fmt/core.h>

#include <string>
#include <vector>

#include "networking/wire.h"

namespace exo {
namespace {

constexpr size_t kMaxBytes = 4096;
constexpr size_t kStartBytes = 5;

}  // namespace

grpc::ByteBuffer link_frame(LinkFrame kind, uint64_t incarnation) {
  std::string text = {'E', 'X', 'L', static_cast<char>(kWireVersion), static_cast<char>(kind)};
  for (int i = 0; kind == LinkFrame::hello && i < 8; ++i)
    text.push_back(static_cast<char>(incarnation >> (8 * i)));
  const grpc::Slice slice(text);
  return {&slice, 1};
}

Result<uint64_t> read_link_frame(const grpc::ByteBuffer& bytes, LinkFrame expected) {
  const Error foreign = corrupt("the peer does not speak exo's protocol");
  std::vector<grpc::Slice> slices;
  if (bytes.Length() > kMaxBytes || !bytes.Dump(&slices).ok()) return foreign;
  std::string text;
  for (const grpc::Slice& slice : slices)
    text.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  if (text.size() < kStartBytes || text.compare(0, 3, "EXL") != 0) return foreign;
  const int version = static_cast<uint8_t>(text[3]);
  if (version != kWireVersion)
    return unsupported(
        fmt::format("the peer speaks protocol version {}, this exo speaks {}: update the older one",
                    version, int{kWireVersion}));
  if (text[4] != static_cast<char>(expected))
    return corrupt("the peer sent its greetings in the wrong order");
  if (expected != LinkFrame::hello) return uint64_t{0};
  if (text.size() < kStartBytes + 8) return corrupt("a greeting that is too short");
  uint64_t incarnation = 0;
  for (size_t i = 0; i < 8; ++i)
    incarnation |= uint64_t{static_cast<uint8_t>(text[kStartBytes + i])} << (8 * i);
  return incarnation;
}

}  // namespace exo
