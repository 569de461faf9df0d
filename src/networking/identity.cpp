#include "networking/identity.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <openssl/crypto.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>

#include "base/base64.h"
#include "base/file.h"
#include "core/json.h"
#include "networking/crypto.h"
#include "networking/text_rules.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

constexpr size_t kPemLimit = 64 << 10;
constexpr int kMaxSlots = 256;
constexpr const char* kOrganization = "exo";

Result<void> make_private_folder(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error)
    return unavailable(fmt::format("cannot create {}: {}", path.string(), error.message()));
  fs::permissions(path, fs::perms::owner_all, error);  // best effort: the keys are 0600 anyway
  return {};
}

std::string decode_base64(std::string_view text) {
  std::string compact;
  for (const char c : text)
    if (c != '\n' && c != '\r' && c != ' ' && c != '\t') compact.push_back(c);
  return from_base64(compact).value_or("");
}

Result<crypto::Key> parse_cluster_key(const std::string& text) {
  const bool pem = text.find("-----BEGIN") != std::string::npos;
  Result<crypto::Key> key = crypto::key_from_pem(pem ? text : decode_base64(text));
  if (!key.ok()) return key.error().in("the cluster key");
  return key;
}

std::string cluster_name(const std::string& cluster_id) { return "cluster " + cluster_id; }

Result<std::string> cluster_id_of(EVP_PKEY* key) {
  const crypto::Digest hash = TRY(crypto::public_key_hash(key));
  return crypto::hex(std::span(hash).first(8));
}

// Every holder of the key can make this certificate: same name, same key, so each one verifies what
// the others' keys have signed.
Result<std::string> make_cluster_certificate(EVP_PKEY* key, const std::string& cluster_id) {
  const std::string name = cluster_name(cluster_id);
  const crypto::Certificate certificate = TRY(crypto::issue_certificate(
      {name, kOrganization, key, name, kOrganization, key, /*authority=*/true}));
  return crypto::certificate_to_pem(certificate.get());
}

bool issued_by(const std::string& certificate_pem, EVP_PKEY* cluster_key, EVP_PKEY* node_key) {
  const Result<crypto::Certificate> certificate = crypto::certificate_from_pem(certificate_pem);
  if (!certificate.ok()) return false;
  return X509_verify(certificate->get(), cluster_key) == 1 &&
         EVP_PKEY_eq(X509_get0_pubkey(certificate->get()), node_key) == 1;
}

// Reads `path`, or makes it with `make`; of two processes that make it at once one wins and both
// use the winner's.
template <class Make>
Result<std::string> read_or_make(const fs::path& path, bool secret, Make make) {
  Result<std::string> stored = read_file(path, kPemLimit);
  if (stored.ok() || stored.error().code != ErrorCode::not_found) return stored;
  const std::string made = TRY(make());
  const Result<void> written = write_file(path, made, {.secret = secret, .exclusive = true});
  if (written.ok()) return made;
  if (written.error().code != ErrorCode::already_exists) return written.error();
  return read_file(path, kPemLimit);
}

Result<std::string> make_key_pem() {
  const crypto::Key key = TRY(crypto::generate_key());
  return crypto::key_to_pem(key.get());
}

struct Slot {
  int number = 0;
  int lock = -1;
};

Result<Slot> take_slot(const fs::path& folder) {
  for (int number = 0; number < kMaxSlots; ++number) {
    const fs::path path = folder / fmt::format("{}.lock", number);
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
      return unavailable(fmt::format("cannot open {}: {}", path.string(), std::strerror(errno)));
    if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return Slot{number, fd};
    const int failure = errno;
    ::close(fd);
    if (failure != EWOULDBLOCK)
      return unavailable(fmt::format("cannot lock {}: {}", path.string(), std::strerror(failure)));
  }
  return resource_exhausted(
      fmt::format("{} nodes already run with the keys in {}", kMaxSlots, folder.string()));
}

Error damaged(const fs::path& path, const Error& error) {
  return corrupt(fmt::format("{}: {}. Move the file away and start again to make a new one",
                             path.string(), error.message));
}

// What the cluster's key signs: unambiguous, because ids have a fixed length.
std::string signed_bytes(const Revocations& list) {
  std::string text = fmt::format("exo revocations v1\n{}\n", list.version);
  for (const NodeId& node : list.nodes) text += node.value + "\n";
  return text;
}

std::vector<NodeId> united(const std::vector<NodeId>& a, const std::vector<NodeId>& b) {
  std::set<NodeId> all(a.begin(), a.end());
  all.insert(b.begin(), b.end());
  return {all.begin(), all.end()};
}

fs::path revocations_path(const fs::path& config_dir) { return config_dir / "revoked.json"; }

}  // namespace

Result<std::string> load_or_make_cluster_key(const fs::path& config_dir) {
  if (auto made = make_private_folder(config_dir); !made.ok()) return made.error();
  return read_or_make(config_dir / "cluster.key", true, make_key_pem);
}

Result<std::string> cluster_id_of_key(const std::string& cluster_key) {
  const crypto::Key key = TRY(parse_cluster_key(cluster_key));
  return cluster_id_of(key.get());
}

Result<std::shared_ptr<const Identity>> Identity::open(const IdentityOptions& options) {
  std::shared_ptr<Identity> self(new Identity);
  self->config_dir_ = options.config_dir;
  for (const fs::path& folder : {options.config_dir, options.config_dir / "nodes"})
    if (auto made = make_private_folder(folder); !made.ok()) return made.error();
  if (auto loaded = self->load_cluster(options.cluster_key); !loaded.ok()) return loaded.error();
  if (auto loaded = self->load_node(); !loaded.ok()) return loaded.error();
  return std::shared_ptr<const Identity>(std::move(self));
}

Result<void> Identity::load_cluster(const std::string& given_key) {
  const bool given = !given_key.empty();
  const std::string text = given ? given_key : TRY(load_or_make_cluster_key(config_dir_));
  Result<crypto::Key> parsed = parse_cluster_key(text);
  if (!parsed.ok())
    return given ? parsed.error() : damaged(config_dir_ / "cluster.key", parsed.error());
  EVP_PKEY* key = parsed->get();
  cluster_key_ = TRY(crypto::key_to_pem(key));
  cluster_id_ = TRY(cluster_id_of(key));
  const std::string scalar = TRY(crypto::private_scalar(key));
  announcement_key_ = TRY(crypto::hkdf_sha256(scalar, "exo announcement v1", 32));
  const fs::path path = config_dir_ / "cluster.crt";
  const Result<std::string> stored = read_file(path, kPemLimit);
  if (!given && stored.ok() && issued_by(*stored, key, key)) {
    cluster_certificate_ = *stored;
    return {};
  }
  cluster_certificate_ = TRY(make_cluster_certificate(key, cluster_id_));
  return given ? Result<void>() : write_file(path, cluster_certificate_);
}

Result<void> Identity::load_node() {
  const fs::path nodes = config_dir_ / "nodes";
  const Slot slot = TRY(take_slot(nodes));
  slot_lock_ = slot.lock;
  const fs::path key_path = nodes / fmt::format("{}.key", slot.number);
  const fs::path certificate_path = nodes / fmt::format("{}.crt", slot.number);
  node_key_ = TRY(read_or_make(key_path, true, make_key_pem));
  Result<crypto::Key> parsed = crypto::key_from_pem(node_key_);
  if (!parsed.ok()) return damaged(key_path, parsed.error());
  EVP_PKEY* key = parsed->get();
  const crypto::Key cluster_key = TRY(crypto::key_from_pem(cluster_key_));
  node_id_ = crypto::node_id_of(TRY(crypto::public_key_hash(key)));
  const Result<std::string> stored = read_file(certificate_path, kPemLimit);
  if (stored.ok() && issued_by(*stored, cluster_key.get(), key)) {
    node_certificate_ = *stored;
    return {};
  }
  const crypto::Certificate issued =
      TRY(crypto::issue_certificate({node_id_.value, kOrganization, key, cluster_name(cluster_id_),
                                     kOrganization, cluster_key.get(), /*authority=*/false}));
  node_certificate_ = TRY(crypto::certificate_to_pem(issued.get()));
  return write_file(certificate_path, node_certificate_);
}

Identity::~Identity() {
  if (slot_lock_ >= 0) ::close(slot_lock_);
  for (std::string* secret : {&cluster_key_, &node_key_, &announcement_key_})
    OPENSSL_cleanse(secret->data(), secret->size());
}

Result<Revocations> Identity::revoke(const Revocations& current,
                                     const std::vector<NodeId>& nodes) const {
  for (const NodeId& node : nodes)
    if (!is_node_id(node.value))
      return invalid_argument(
          fmt::format("'{}' is not a node id (32 hex digits, see `exo nodes`)", node.value));
  const crypto::Key key = TRY(crypto::key_from_pem(cluster_key_));
  Revocations out{current.version + 1, united(current.nodes, nodes), {}};
  out.signature = TRY(crypto::sign(key.get(), signed_bytes(out)));
  return out;
}

Result<void> Identity::verify(const Revocations& list) const {
  if (list.version == 0 && list.nodes.empty()) return {};
  const auto certificate = TRY(crypto::certificate_from_pem(cluster_certificate_));
  if (!crypto::verify(X509_get0_pubkey(certificate.get()), signed_bytes(list), list.signature))
    return permission_denied("a revocation list that this cluster's key has not signed");
  return {};
}

Result<std::optional<Revocations>> Identity::merge(const Revocations& mine,
                                                   const Revocations& theirs) const {
  if (theirs.version < mine.version) return std::optional<Revocations>();
  if (theirs.version == mine.version && theirs.nodes == mine.nodes)
    return std::optional<Revocations>();
  if (auto good = verify(theirs); !good.ok()) return good.error();
  const std::vector<NodeId> all = united(mine.nodes, theirs.nodes);
  if (theirs.version > mine.version && all.size() == theirs.nodes.size())
    return std::optional<Revocations>(theirs);
  // Lists only grow: made apart, both count.
  Revocations base = theirs.version > mine.version ? theirs : mine;
  return std::optional<Revocations>(TRY(revoke(base, all)));
}

Result<Revocations> load_revocations(const fs::path& config_dir) {
  const fs::path path = revocations_path(config_dir);
  const Result<std::string> text = read_file(path, 8 << 20);
  if (!text.ok() && text.error().code == ErrorCode::not_found) return Revocations{};
  if (!text.ok()) return text.error();
  const Json json = TRY(parse_json(*text));
  if (!json.is_object()) return corrupt(path.string() + " is not a JSON object");
  const JsonObject& object = json.as_object();
  Revocations out;
  out.version = static_cast<uint64_t>(TRY(get_int(object, "version")).value_or(0));
  const JsonArray* nodes = TRY(get_array(object, "nodes"));
  for (size_t i = 0; nodes != nullptr && i < nodes->size(); ++i) {
    const Json& node = (*nodes)[i];
    if (!node.is_string() || !is_node_id(node.as_string()))
      return corrupt(path.string() + " holds something that is not a node id");
    out.nodes.push_back({std::string(node.as_string())});
  }
  out.signature = decode_base64(TRY(get_string(object, "signature")).value_or(""));
  const auto size = static_cast<size_t>(TRY(get_int(object, "signature_bytes")).value_or(0));
  if (size <= out.signature.size()) out.signature.resize(size);
  return out;
}

Result<void> save_revocations(const fs::path& config_dir, const Revocations& list) {
  JsonArray nodes;
  for (const NodeId& node : list.nodes) nodes.emplace_back(node.value);
  const JsonObject object{{"version", list.version},
                          {"nodes", nodes},
                          {"signature", to_base64(list.signature)},
                          {"signature_bytes", list.signature.size()}};
  return write_file(revocations_path(config_dir), to_text(object) + "\n");
}

Result<void> store_cluster_key(const fs::path& config_dir, const std::string& cluster_key,
                               StoreOptions options) {
  const std::string id = TRY(cluster_id_of_key(cluster_key));
  if (auto made = make_private_folder(config_dir); !made.ok()) return made.error();
  const fs::path path = config_dir / "cluster.key";
  const Result<std::string> stored = read_file(path, kPemLimit);
  if (!stored.ok() && stored.error().code != ErrorCode::not_found) return stored.error();
  if (stored.ok()) {
    const std::string old =
        cluster_id_of_key(*stored).ok() ? *cluster_id_of_key(*stored) : "damaged";
    if (old == id) return {};
    if (!options.replace)
      return Error{ErrorCode::already_exists,
                   fmt::format("this device already belongs to cluster {}; run `exo join --replace "
                               "CODE` to move it to cluster {} (the old key is kept)",
                               old, id)};
    const fs::path backup = config_dir / fmt::format("cluster.key.{}.bak", old);
    if (auto kept = write_file(backup, *stored, {.secret = true}); !kept.ok()) return kept;
  }
  if (auto written = write_file(path, cluster_key, {.secret = true, .exclusive = !stored.ok()});
      !written.ok())
    return written;
  // Belongs to the old key; made again at the next start.
  std::error_code ignored;
  fs::remove(config_dir / "cluster.crt", ignored);
  fs::remove(revocations_path(config_dir), ignored);
  return {};
}

Result<NodeId> node_id_of_certificate(const std::string& certificate_pem) {
  const crypto::Certificate certificate = TRY(crypto::certificate_from_pem(certificate_pem));
  EVP_PKEY* key = X509_get0_pubkey(certificate.get());
  if (key == nullptr) return corrupt("a certificate without a public key");
  const NodeId id = crypto::node_id_of(TRY(crypto::public_key_hash(key)));
  char name[65] = {};
  X509_NAME_get_text_by_NID(X509_get_subject_name(certificate.get()), NID_commonName, name,
                            sizeof name);
  if (id.value != name) return permission_denied("a certificate whose name is not its key's hash");
  return id;
}

}  // namespace exo
