// Small wrappers over OpenSSL 3: owning pointers, keys and certificates as PEM text, hashes. Only
// .cpp files of this folder include it. Stateless, thread-safe. Failures are Errors that carry
// OpenSSL's reason and never key material.
#pragma once

#include <openssl/evp.h>
#include <openssl/x509.h>

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "core/ids.h"

namespace exo::crypto {

template <auto Free>
struct Deleter {
  template <class T>
  void operator()(T* pointer) const {
    Free(pointer);
  }
};
using Key = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Deleter<X509_free>>;
using Digest = std::array<std::byte, 32>;

Error openssl_error(std::string_view what);

Result<Key> generate_key();  // P-256
Result<Key> key_from_pem(std::string_view pem);
Result<std::string> key_to_pem(EVP_PKEY* key);
Result<Certificate> certificate_from_pem(std::string_view pem);
Result<std::string> certificate_to_pem(X509* certificate);

Digest sha256(std::string_view bytes);
Digest hmac_sha256(std::string_view key, std::string_view bytes);
Result<std::string> hkdf_sha256(std::string_view secret, std::string_view info, size_t size);
bool equal(std::string_view a, std::string_view b);  // in constant time for equal sizes

Result<Digest> public_key_hash(EVP_PKEY* key);      // SHA-256 of the SubjectPublicKeyInfo
Result<std::string> private_scalar(EVP_PKEY* key);  // 32 bytes, big endian
NodeId node_id_of(const Digest& public_key_hash);
std::string hex(std::span<const std::byte> bytes);

Result<std::string> sign(EVP_PKEY* key, std::string_view bytes);  // ECDSA, SHA-256, DER
bool verify(EVP_PKEY* key, std::string_view bytes, std::string_view signature);

struct CertificateRequest {
  std::string common_name;
  std::string organization;
  EVP_PKEY* subject = nullptr;
  std::string issuer_common_name;  // == common_name when self-signed
  std::string issuer_organization;
  EVP_PKEY* issuer = nullptr;
  bool authority = false;
};
Result<Certificate> issue_certificate(const CertificateRequest& request);

inline std::string_view view(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace exo::crypto
