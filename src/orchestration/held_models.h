// Which layers of which models lie in this node's downloads folder, for gossip. Only what came from
// a hub counts: a folder that a person put there has no name that other nodes know, and is never
// fetched from them.
#pragma once

#include <condition_variable>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/held_model.h"
#include "download/model_store.h"

namespace exo {

// Looks at the disk. A model that did not change since the last time is not read again. One thread.
class HeldModelReader {
 public:
  // Of `store` its downloads folder and its cards.
  explicit HeldModelReader(const ModelStoreOptions& store);

  // Those with most bytes first, at most 64. What cannot be opened yet is left out.
  std::vector<HeldModel> read();

 private:
  struct Known {
    std::string stamp;  // names, sizes and times of all that decides
    std::string id;
    HeldModel model;  // layer_count 0: cannot be opened
  };
  ModelStore store_;
  std::map<std::filesystem::path, Known> known_;
};

// Looks again when told to, every two seconds while something is being fetched, and once a minute,
// since other programs use the folder too; says what it found when that is something new.
// look() is thread-safe. The destructor stops.
class HeldModelWatch {
 public:
  struct Options {
    ModelStoreOptions store;
    std::function<bool()> fetching;                           // any thread
    std::function<void(const std::vector<HeldModel>&)> tell;  // on the watch's own thread
  };
  explicit HeldModelWatch(Options options);
  ~HeldModelWatch();

  void look();  // soon
  void stop();  // tells nothing any more after it returns

 private:
  void run();

  const Options options_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool asked_ = true, stopping_ = false;
  std::thread thread_;  // last: it uses the rest
};

}  // namespace exo
