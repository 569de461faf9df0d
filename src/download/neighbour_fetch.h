// fetch_together(): brings the wanted ranges into the store together with other nodes. What they
// have is copied from them; of what several want now each asks the hub for a part of its own and
// copies the rest while it comes (file_claims.h says who gets what). Nodes that bring nothing, or
// are slow beside the hub, are not waited for. Blocking; ends soon after watch.stopped().
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "download/neighbours.h"
#include "download/range_fetch.h"

namespace exo {

// `source`: the model, pinned to a commit. What is missing afterwards nobody else brings. Counts
// done_bytes and fetched_bytes.
Result<void> fetch_together(Neighbours& neighbours, const std::string& source,
                            const FetchPlace& place, const std::vector<WantedFile>& wanted,
                            DownloadWatch& watch);

// After a file had another hash than the hub's: of the bytes that were copied those count again
// that are right by a neighbour's hashes of its pieces. The others are missing then.
Result<void> check_copied(Neighbours& neighbours, const std::string& source,
                          const FetchPlace& place, const std::vector<WantedFile>& wanted);

}  // namespace exo
