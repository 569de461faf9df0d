// Pictures in a chat request: parts {"type": "image_url", "image_url": {"url": "data:..."}}. Only
// data: URLs are read: a server that fetches what strangers name can be led into private networks.
// Pure; errors begin with the 'field' at fault.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "core/image.h"
#include "core/json.h"
#include "core/model_card.h"

namespace exo {

// A picture as it was sent: the bytes of a file, not decoded yet.
struct SentPicture {
  std::string field;  // "messages[0].content[1]"
  std::string bytes;
};

Result<SentPicture> read_image_part(const JsonObject& part, std::string field);

// What the model sees of them. One at a time, and only the small square is kept: a picture may have
// many millions of pixels.
Result<std::vector<std::shared_ptr<const Image>>> decode_pictures(
    const std::vector<SentPicture>& pictures, const ModelCard& card);

}  // namespace exo
