// HeldFiles: what the downloads folder has of files that neighbours ask for: only bytes that count
// there, of a model at the very commit that was asked for. Reads records and files at each call;
// one thread.
#pragma once

#include <unistd.h>

#include <cstddef>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "download/neighbours.h"

namespace exo {

class HeldFiles {
 public:
  explicit HeldFiles(std::filesystem::path downloads) : downloads_(std::move(downloads)) {}

  RangeSet held(const FileName& name);
  // Empty when a byte of it is not here.
  std::vector<std::byte> read(const FileName& name, ByteRange range);
  // As Neighbours::hash() says.
  std::optional<Neighbours::HashStep> hash(const FileName& name, ByteRange range,
                                           const std::string& state);

  struct Place {
    std::filesystem::path folder;  // of the model
    std::filesystem::path path;    // of the complete file
    uint64_t size = 0;
    std::string oid, revision;
  };
  std::optional<Place> find(const FileName& name);

 private:
  class OpenFile {
   public:
    explicit OpenFile(int number) : number_(number) {}
    ~OpenFile() { ::close(number_); }
    OpenFile(const OpenFile&) = delete;
    OpenFile& operator=(const OpenFile&) = delete;
    int number() const { return number_; }

   private:
    const int number_;
  };

  static std::optional<Place> find_in(const std::filesystem::path& folder, const FileName& name);
  RangeSet held(const Place& place) const;
  static std::optional<OpenFile> open(const Place& place);

  const std::filesystem::path downloads_;
  std::map<std::string, std::filesystem::path> folders_;  // by source, where it was last
};

}  // namespace exo
