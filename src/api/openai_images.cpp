#include "api/openai_images.h"

#include <fmt/core.h>

#include "base/base64.h"
#include "orchestration/pictures.h"

namespace exo {
namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

// OpenAI's {"url", "detail"}, or the URL alone, which some clients send.
const boost::json::string* url_of(const JsonObject& part) {
  const Json* value = find_value(part, "image_url");
  if (value != nullptr && value->is_object()) value = find_value(value->get_object(), "url");
  return value == nullptr ? nullptr : value->if_string();
}

}  // namespace

Result<SentPicture> read_image_part(const JsonObject& part, std::string field) {
  const auto wrong = [&](std::string_view what) {
    return invalid_argument(fmt::format("'{}' {}", field, what));
  };
  const boost::json::string* text = url_of(part);
  if (text == nullptr) return wrong("must have an image_url with a url");
  const std::string_view url(*text);
  if (lower(url.substr(0, 5)) != "data:")
    return wrong(
        "must have a data: URL (data:image/png;base64,...): this server does not fetch pictures "
        "from elsewhere");
  const size_t comma = url.find(',');
  if (comma == url.npos) return wrong("has a data: URL without data");
  if (!lower(url.substr(0, comma)).ends_with(";base64"))
    return wrong("must have a data: URL in base64 (data:image/png;base64,...)");
  auto bytes = from_base64(url.substr(comma + 1));
  if (!bytes) return wrong("has data that is not base64");
  return SentPicture{std::move(field), *std::move(bytes)};
}

Result<std::vector<std::shared_ptr<const Image>>> decode_pictures(
    const std::vector<SentPicture>& pictures, const ModelCard& card) {
  std::vector<std::shared_ptr<const Image>> images;
  for (const SentPicture& picture : pictures) {
    auto image = read_picture(std::as_bytes(std::span(picture.bytes)), card);
    if (!image.ok()) return image.error().in("'" + picture.field + "'");
    images.push_back(*std::move(image));
  }
  return images;
}

}  // namespace exo
