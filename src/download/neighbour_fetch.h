// copy_from_neighbours(): brings into the store what other nodes have of the wanted ranges, and
// says what is left for the hub to give to this node, and what another node is fetching right now.
// Blocking; ends soon after watch.stopped().
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "download/neighbours.h"
#include "download/range_fetch.h"

namespace exo {

// Withdrawn at the end of its life.
class Announcement {
 public:
  Announcement(Neighbours& neighbours, FileName name)
      : neighbours_(&neighbours), name_(std::move(name)) {}
  Announcement(Announcement&& other) noexcept
      : neighbours_(std::exchange(other.neighbours_, nullptr)), name_(std::move(other.name_)) {}
  Announcement& operator=(Announcement&&) = delete;
  ~Announcement() {
    if (neighbours_ != nullptr) neighbours_->withdraw(name_);
  }

 private:
  Neighbours* neighbours_;
  FileName name_;
};

struct NeighbourShare {
  std::vector<WantedFile> ours;  // for the hub; nobody else fetches it as long as it is announced
  std::vector<Announcement> announcements;
  bool others = false;  // more will be found at neighbours in a while
  uint64_t copied_bytes = 0;
};

// `source`: the model, pinned to a commit. Counts done_bytes and fetched_bytes.
Result<NeighbourShare> copy_from_neighbours(Neighbours& neighbours, const std::string& source,
                                            const FetchPlace& place,
                                            const std::vector<WantedFile>& wanted,
                                            DownloadWatch& watch);

}  // namespace exo
