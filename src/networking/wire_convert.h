// Between core's structs and the generated protobuf classes; the two halves of wire.cpp. Only
// wire*.cpp include this.
#pragma once

#include "core/messages.h"
#include "networking/wire.h"
#include "networking/wire.pb.h"

namespace exo {

// Everything but the payload.
void to_wire(const Message& message, wire::Control& out);
// Takes the payload where the message has one; a payload without a place for it is an error.
Result<Message> from_wire(const wire::Control& in, Payload payload);

}  // namespace exo
