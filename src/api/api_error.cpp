#include "api/api_error.h"

namespace exo {
namespace {

std::string quoted_field(std::string_view message) {
  if (message.empty() || message.front() != '\'') return {};
  const size_t end = message.find('\'', 1);
  if (end == std::string_view::npos || end > 64) return {};
  return std::string(message.substr(1, end - 1));
}

Json or_null(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

}  // namespace

ApiError error_of_status(int status, std::string message) {
  ApiError error{status, std::move(message), "invalid_request_error", "", ""};
  if (status == 401) error.code = "invalid_api_key";
  if (status == 403) error.type = "permission_error";
  if (status == 429) error.type = "rate_limit_error";
  if (status >= 500) error.type = "server_error";
  return error;
}

ApiError to_api_error(const Error& error, std::string_view prompt_param) {
  switch (error.code) {
    case ErrorCode::invalid_argument:
    case ErrorCode::unsupported: {
      ApiError out = error_of_status(400, error.message);
      out.param = quoted_field(error.message);
      if (error.code == ErrorCode::unsupported) out.code = "unsupported";
      return out;
    }
    case ErrorCode::not_found: {
      ApiError out = error_of_status(404, error.message);
      out.param = "model";
      out.code = "model_not_found";
      return out;
    }
    case ErrorCode::already_exists:
      return error_of_status(400, error.message);
    case ErrorCode::resource_exhausted: {
      if (error.message.find("maximum context length") != std::string::npos) {
        ApiError out = error_of_status(400, error.message);
        out.param = std::string(prompt_param);
        out.code = "context_length_exceeded";
        return out;
      }
      ApiError out = error_of_status(429, error.message);
      out.code = "rate_limit_exceeded";
      return out;
    }
    case ErrorCode::permission_denied:
      return error_of_status(403, error.message);
    case ErrorCode::unavailable:
    case ErrorCode::cancelled:
      return error_of_status(503, error.message);
    case ErrorCode::deadline_exceeded:
      return error_of_status(504, error.message);
    case ErrorCode::corrupt:
    case ErrorCode::internal:
      break;
  }
  return error_of_status(500, error.message);
}

JsonObject error_json(const ApiError& error) {
  JsonObject inner;
  inner["message"] = error.message;
  inner["type"] = error.type;
  inner["param"] = or_null(error.param);
  inner["code"] = or_null(error.code);
  JsonObject outer;
  outer["error"] = std::move(inner);
  return outer;
}

HttpResponse error_response(const ApiError& error) {
  HttpResponse response{error.status, "application/json", to_text(error_json(error)), {}};
  if (error.status == 429 || error.status == 503) response.headers.emplace_back("Retry-After", "1");
  if (error.status == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer");
  return response;
}

}  // namespace exo
