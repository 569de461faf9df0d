// A ring of stages in one thread for tests: any interleaving of stages and links by seed, and lost
// tails of runs. Answers are collected as an asker would, and repeats must say the same.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include "inference/stage_runner.h"

namespace exo {

struct Answer {
  SessionOpen open;
  std::vector<TokenId> ids;  // generated
  FinishReason finish = FinishReason::none;
  int accepted = 0;
  bool closed = false;
};

class Ring {
 public:
  using EngineFactory = std::function<std::unique_ptr<InferenceEngine>(const Placement&, size_t)>;

  Ring(uint64_t seed, const Placement& placement, const EngineFactory& make_engine)
      : random_(seed), placement_(placement), links_(placement.stages.size()) {
    StageRunnerOptions options;
    options.max_batch_rows = 24;
    options.max_sequences = 6;
    for (size_t i = 0; i < placement.stages.size(); ++i)
      runners_.push_back(make_stage_runner(placement_, i, make_engine(placement_, i), options));
  }

  void open(SessionOpen open) {
    open.placement = placement_.id;
    open.epoch = placement_.epoch;
    answers_[open.session].open = open;
    open.for_tail = true;
    runners_.back()->submit(open);
    drain(runners_.size() - 1);
    open.for_tail = false;
    runners_.front()->submit(open);
  }
  void close(SessionId session) {
    answers_[session].closed = true;
    runners_.back()->submit(SessionClose{placement_.id, session});
    if (runners_.size() > 1) runners_.front()->submit(SessionClose{placement_.id, session});
  }

  // One random thing that can happen; false when nothing can.
  bool advance() {
    std::vector<std::pair<int, size_t>> moves;
    for (size_t i = 0; i < runners_.size(); ++i) {
      if (runners_[i]->has_work()) moves.push_back({0, i});
      if (!links_[i].empty()) moves.push_back({1, i});
    }
    if (!results_.empty()) moves.push_back({2, 0});
    if (moves.empty()) return false;
    const auto [kind, index] = moves[random_() % moves.size()];
    if (kind == 0) step(index);
    if (kind == 1) {
      runners_[index]->submit(std::move(links_[index].front()));
      links_[index].pop_front();
    }
    if (kind == 2) {
      runners_.front()->submit(std::move(results_.front()));
      results_.pop_front();
    }
    return true;
  }

  // Messages are lost from some point on, per link; the head starts a new run.
  void disturb() {
    for (size_t i = 1; i < links_.size(); ++i) {
      const size_t kept = random_() % (links_[i].size() + 1);
      if (kept < links_[i].size()) lost_[i] = links_[i].back().batch.run + 1;
      links_[i].resize(kept);
    }
    results_.resize(random_() % (results_.size() + 1));
    runners_.front()->submit(StartNewRun{});
  }
  void lose_a_result() {
    if (!results_.empty()) results_.pop_front();
  }

  // Runs until nothing moves; where a lost result stalls it, the head is told so.
  void settle() {
    for (int rounds = 0; rounds < 200; ++rounds) {
      while (advance()) {
      }
      if (runners_.front()->stats().batches_in_flight == 0) return;
      runners_.front()->submit(StartNewRun{});
    }
    FAIL() << "never settles";
  }

  std::map<SessionId, Answer>& answers() { return answers_; }
  StageStats head() const { return runners_.front()->stats(); }
  StageStats tail() const { return runners_.back()->stats(); }
  std::mt19937_64& random() { return random_; }

 private:
  void drain(size_t index) {
    while (runners_[index]->has_work()) step(index);
  }
  void step(size_t index) {
    for (StageEvent& event : runners_[index]->step()) {
      if (auto* forward = std::get_if<Forward>(&event)) {
        // Links keep the order contract: after a loss nothing more of that run comes through.
        if (forward->batch.run >= lost_[index + 1])
          links_.at(index + 1).push_back(std::move(*forward));
      } else if (auto* result = std::get_if<BatchResult>(&event)) {
        for (const TokenEvent& token : result->tokens) receive(token);
        if (runners_.size() > 1) results_.push_back(std::move(*result));
      } else if (auto* accepted = std::get_if<SessionAccepted>(&event)) {
        ++answers_[accepted->session].accepted;
      } else if (auto* error = std::get_if<StageError>(&event)) {
        ADD_FAILURE() << "stage " << index << ": " << error->error.message;
      } else if (auto* refused = std::get_if<SessionRefused>(&event)) {
        ADD_FAILURE() << "refused: " << refused->error.message;
      }
    }
  }
  // As an asker does: positions it has already are repeats, and must say the same.
  void receive(const TokenEvent& event) {
    Answer& answer = answers_[event.session];
    if (answer.closed) return;
    const size_t begin = answer.open.prompt_ids.size() + answer.open.emitted_ids.size();
    ASSERT_GE(static_cast<size_t>(event.position), begin);
    const size_t index = static_cast<size_t>(event.position) - begin;
    ASSERT_LE(index, answer.ids.size());
    if (index < answer.ids.size()) {
      EXPECT_EQ(answer.ids[index], event.ids[0]);
    } else {
      answer.ids.push_back(event.ids[0]);
      answer.finish = event.finish;
    }
  }

  std::mt19937_64 random_;
  Placement placement_;
  std::vector<std::unique_ptr<StageRunner>> runners_;
  std::vector<std::deque<Forward>> links_;  // links_[i]: what travels to stage i
  std::map<size_t, uint64_t> lost_;         // runs below this are lost on that link
  std::deque<BatchResult> results_;
  std::map<SessionId, Answer> answers_;
};

}  // namespace exo
