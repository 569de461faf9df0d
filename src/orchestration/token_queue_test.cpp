#include "orchestration/token_queue.h"

#include <gtest/gtest.h>

#include <thread>

namespace exo {
namespace {

using Item = TokenStream::Item;

Item tokens(int position, std::vector<TokenId> ids, FinishReason finish = FinishReason::none) {
  Item item;
  item.kind = Item::Kind::tokens;
  item.tokens.position = position;
  item.tokens.ids = std::move(ids);
  item.tokens.finish = finish;
  return item;
}

TEST(TokenQueue, KeepsOrderAndEndsAfterTheLast) {
  TokenQueue queue(3);
  queue.push(tokens(5, {1}));
  queue.push(tokens(6, {2, 3}, FinishReason::length));
  queue.push(tokens(8, {4}));
  EXPECT_TRUE(queue.ended());
  EXPECT_EQ(queue.try_pop()->tokens.position, 5);
  EXPECT_EQ(queue.pop(0)->tokens.ids, (std::vector<TokenId>{2, 3}));
  EXPECT_FALSE(queue.pop(60'000).has_value());  // at once: nothing follows
}

TEST(TokenQueue, MoreThanAskedForIsAnErrorAndNoticesAreBounded) {
  TokenQueue queue(2);
  for (int i = 0; i < 1000; ++i) queue.push({Item::Kind::notice, "loading", {}, {}});
  int notices = 0;
  while (queue.try_pop()) ++notices;
  EXPECT_LT(notices, 100);
  queue.push(tokens(0, {1, 2}));
  queue.push(tokens(2, {3}));
  EXPECT_EQ(queue.try_pop()->kind, Item::Kind::tokens);
  EXPECT_EQ(queue.try_pop()->kind, Item::Kind::failed);
  EXPECT_TRUE(queue.ended());
}

TEST(TokenQueue, ALateWakerLearnsWhatIsThere) {
  TokenQueue queue(10);
  queue.push(tokens(0, {1}));
  queue.wake();
  int calls = 0;
  queue.set_waker([&] { ++calls; });
  EXPECT_EQ(calls, 1);
  queue.push(tokens(1, {2}));
  queue.wake();
  EXPECT_EQ(calls, 2);
}

TEST(TokenQueue, AWaitingConsumerIsWoken) {
  TokenQueue queue(10);
  std::thread consumer([&] { EXPECT_EQ(queue.pop(60'000)->tokens.ids.front(), 7); });
  queue.push(tokens(0, {7}));
  consumer.join();
}

}  // namespace
}  // namespace exo
