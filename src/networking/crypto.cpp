#include "networking/crypto.h"

#include <fmt/core.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <cstring>

namespace exo::crypto {
namespace {

using Bio = std::unique_ptr<BIO, Deleter<BIO_free_all>>;
using Number = std::unique_ptr<BIGNUM, Deleter<BN_clear_free>>;
using DigestContext = std::unique_ptr<EVP_MD_CTX, Deleter<EVP_MD_CTX_free>>;
using Extension = std::unique_ptr<X509_EXTENSION, Deleter<X509_EXTENSION_free>>;

const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

Bio memory_reader(std::string_view text) {
  return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

std::string drain(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return size > 0 ? std::string(data, static_cast<size_t>(size)) : std::string();
}

bool add_extension(X509* certificate, X509V3_CTX* context, int id, const char* value) {
  const Extension extension(X509V3_EXT_conf_nid(nullptr, context, id, value));
  return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

bool add_name(X509_NAME* name, const char* field, const std::string& value) {
  return X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8, bytes_of(value),
                                    static_cast<int>(value.size()), -1, 0) == 1;
}

bool set_names(X509* certificate, const CertificateRequest& request) {
  X509_NAME* subject = X509_get_subject_name(certificate);
  X509_NAME* issuer = X509_get_issuer_name(certificate);
  return add_name(subject, "O", request.organization) &&
         add_name(subject, "CN", request.common_name) &&
         add_name(issuer, "O", request.issuer_organization) &&
         add_name(issuer, "CN", request.issuer_common_name);
}

// Devices without a battery-backed clock start in 1970: validity in time would lock them out, and
// says nothing here. RFC 5280's "no expiration date"; revocation is by list.
bool set_validity(X509* certificate) {
  return ASN1_TIME_set_string_X509(X509_getm_notBefore(certificate), "19700101000000Z") == 1 &&
         ASN1_TIME_set_string_X509(X509_getm_notAfter(certificate), "99991231235959Z") == 1;
}

bool set_serial(X509* certificate) {
  unsigned char serial[16];
  if (RAND_bytes(serial, sizeof serial) != 1) return false;
  serial[0] &= 0x7f;
  const Number number(BN_bin2bn(serial, sizeof serial, nullptr));
  return number && BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) != nullptr;
}

bool set_extensions(X509* certificate, bool authority) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  if (authority)
    return add_extension(certificate, &context, NID_basic_constraints,
                         "critical,CA:TRUE,pathlen:0") &&
           add_extension(certificate, &context, NID_key_usage, "critical,keyCertSign,cRLSign") &&
           add_extension(certificate, &context, NID_subject_key_identifier, "hash");
  return add_extension(certificate, &context, NID_basic_constraints, "critical,CA:FALSE") &&
         add_extension(certificate, &context, NID_key_usage, "critical,digitalSignature") &&
         add_extension(certificate, &context, NID_ext_key_usage, "serverAuth,clientAuth") &&
         add_extension(certificate, &context, NID_subject_alt_name, "DNS:node.exo");
}

}  // namespace

Error openssl_error(std::string_view what) {
  char reason[256] = "unknown reason";
  if (const unsigned long code = ERR_get_error(); code != 0)
    ERR_error_string_n(code, reason, sizeof reason);
  ERR_clear_error();
  return internal_error(fmt::format("{}: {}", what, reason));
}

Result<Key> generate_key() {
  Key key(EVP_EC_gen("P-256"));
  if (!key) return openssl_error("cannot make a key");
  return key;
}

Result<Key> key_from_pem(std::string_view pem) {
  const Bio bio = memory_reader(pem);
  // The callback answers "no password": without it OpenSSL would ask on the terminal.
  Key key(PEM_read_bio_PrivateKey(
      bio.get(), nullptr, [](char*, int, int, void*) { return 0; }, nullptr));
  ERR_clear_error();
  if (!key) return corrupt("not a private key in PEM form");
  char group[64] = {};
  size_t length = 0;
  if (!EVP_PKEY_is_a(key.get(), "EC") ||
      EVP_PKEY_get_group_name(key.get(), group, sizeof group, &length) != 1 ||
      std::strcmp(group, "prime256v1") != 0)
    return unsupported("the key is not an elliptic-curve key on P-256");
  return key;
}

Result<std::string> key_to_pem(EVP_PKEY* key) {
  const Bio bio(BIO_new(BIO_s_mem()));
  if (PEM_write_bio_PKCS8PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1)
    return openssl_error("cannot write a key");
  return drain(bio.get());
}

Result<Certificate> certificate_from_pem(std::string_view pem) {
  const Bio bio = memory_reader(pem);
  Certificate certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  ERR_clear_error();
  if (!certificate) return corrupt("not a certificate in PEM form");
  return certificate;
}

Result<std::string> certificate_to_pem(X509* certificate) {
  const Bio bio(BIO_new(BIO_s_mem()));
  if (PEM_write_bio_X509(bio.get(), certificate) != 1)
    return openssl_error("cannot write a certificate");
  return drain(bio.get());
}

Digest sha256(std::string_view bytes) {
  Digest out{};
  const int done = EVP_Digest(bytes.data(), bytes.size(), reinterpret_cast<unsigned char*>(&out),
                              nullptr, EVP_sha256(), nullptr);
  CHECK(done == 1, "SHA-256 is not available");
  return out;
}

Digest hmac_sha256(std::string_view key, std::string_view bytes) {
  Digest out{};
  const auto* done = HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), bytes_of(bytes),
                          bytes.size(), reinterpret_cast<unsigned char*>(&out), nullptr);
  CHECK(done != nullptr, "HMAC-SHA256 is not available");
  return out;
}

Result<std::string> hkdf_sha256(std::string_view secret, std::string_view info, size_t size) {
  using Kdf = std::unique_ptr<EVP_KDF, Deleter<EVP_KDF_free>>;
  using KdfContext = std::unique_ptr<EVP_KDF_CTX, Deleter<EVP_KDF_CTX_free>>;
  const Kdf kdf(EVP_KDF_fetch(nullptr, "HKDF", nullptr));
  const KdfContext context(EVP_KDF_CTX_new(kdf.get()));
  char digest[] = "SHA256";
  const OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, const_cast<char*>(secret.data()),
                                        secret.size()),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, const_cast<char*>(info.data()),
                                        info.size()),
      OSSL_PARAM_construct_end()};
  std::string out(size, '\0');
  if (EVP_KDF_derive(context.get(), reinterpret_cast<unsigned char*>(out.data()), size,
                     parameters) != 1)
    return openssl_error("cannot derive a key");
  return out;
}

bool equal(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

Result<Digest> public_key_hash(EVP_PKEY* key) {
  unsigned char* der = nullptr;
  const int size = i2d_PUBKEY(key, &der);
  if (size <= 0) return openssl_error("cannot encode a public key");
  const Digest out = sha256({reinterpret_cast<char*>(der), static_cast<size_t>(size)});
  OPENSSL_free(der);
  return out;
}

Result<std::string> private_scalar(EVP_PKEY* key) {
  BIGNUM* raw = nullptr;
  if (EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_PRIV_KEY, &raw) != 1)
    return openssl_error("cannot read a private key");
  const Number number(raw);
  std::string out(32, '\0');
  if (BN_bn2binpad(number.get(), reinterpret_cast<unsigned char*>(out.data()), 32) != 32)
    return openssl_error("cannot read a private key");
  return out;
}

std::string hex(std::span<const std::byte> bytes) {
  std::string out;
  for (const std::byte byte : bytes) out += fmt::format("{:02x}", std::to_integer<int>(byte));
  return out;
}

NodeId node_id_of(const Digest& public_key_hash) {
  return {hex(std::span(public_key_hash).first(16))};
}

Result<std::string> sign(EVP_PKEY* key, std::string_view bytes) {
  const DigestContext context(EVP_MD_CTX_new());
  size_t size = 0;
  if (EVP_DigestSignInit(context.get(), nullptr, EVP_sha256(), nullptr, key) != 1 ||
      EVP_DigestSign(context.get(), nullptr, &size, bytes_of(bytes), bytes.size()) != 1)
    return openssl_error("cannot sign");
  std::string out(size, '\0');
  if (EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(out.data()), &size,
                     bytes_of(bytes), bytes.size()) != 1)
    return openssl_error("cannot sign");
  out.resize(size);
  return out;
}

bool verify(EVP_PKEY* key, std::string_view bytes, std::string_view signature) {
  const DigestContext context(EVP_MD_CTX_new());
  const bool good = EVP_DigestVerifyInit(context.get(), nullptr, EVP_sha256(), nullptr, key) == 1 &&
                    EVP_DigestVerify(context.get(), bytes_of(signature), signature.size(),
                                     bytes_of(bytes), bytes.size()) == 1;
  ERR_clear_error();
  return good;
}

Result<Certificate> issue_certificate(const CertificateRequest& request) {
  Certificate certificate(X509_new());
  const bool built = certificate && X509_set_version(certificate.get(), X509_VERSION_3) == 1 &&
                     set_serial(certificate.get()) && set_validity(certificate.get()) &&
                     set_names(certificate.get(), request) &&
                     X509_set_pubkey(certificate.get(), request.subject) == 1 &&
                     set_extensions(certificate.get(), request.authority) &&
                     X509_sign(certificate.get(), request.issuer, EVP_sha256()) > 0;
  if (!built) return openssl_error("cannot make a certificate");
  return certificate;
}

}  // namespace exo::crypto
