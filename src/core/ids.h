// Names of things. NodeId is the identity of a node: lower-case hex of the first 16 bytes of
// SHA-256 over its public key (SubjectPublicKeyInfo DER); `--node-id` gives a display name, never
// an identity. The numeric ids are random 64-bit values, unique in practice.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <string>

namespace exo {

template <class Tag, class Value>
struct Id {
  Value value{};
  auto operator<=>(const Id&) const = default;
};

using NodeId = Id<struct NodeIdTag, std::string>;
using PlacementId = Id<struct PlacementIdTag, uint64_t>;
using SessionId = Id<struct SessionIdTag, uint64_t>;  // one request on one Placement = one Sequence
using TokenId = int32_t;

}  // namespace exo

template <class Tag, class Value>
struct std::hash<exo::Id<Tag, Value>> {
  size_t operator()(const exo::Id<Tag, Value>& id) const { return std::hash<Value>()(id.value); }
};
