#include <fcntl.h>
#include <unistd.h>

#include <future>
#include <vector>

#include "apiserver/concurrency/event_loop.h"
#include "apiserver/concurrency/task_pool.h"
#include "base/fd.h"
#include "base/file.h"
#include "gtest/gtest.h"

namespace container::apiserver {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(TaskPool, QueuesKeepOrderAndDoNotHoldUpEachOther) {
  std::vector<int> order;
  std::promise<void> gate;
  auto opened = gate.get_future().share();
  std::promise<void> other_ran;
  {
    TaskPool pool(4);
    SerialQueue slow(pool);
    SerialQueue other(pool);
    slow.Post([opened] { opened.wait(); });
    for (int i = 0; i < 100; ++i) slow.Post([&order, i] { order.push_back(i); });
    other.Post([&other_ran] { other_ran.set_value(); });
    EXPECT_EQ(other_ran.get_future().wait_for(seconds(10)), std::future_status::ready);
    EXPECT_TRUE(order.empty());
    gate.set_value();
  }
  ASSERT_EQ(order.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[i], i);
}

TEST(EventLoop, DescriptorsTimersAndCancelling) {
  auto loop = EventLoop::Create().value();
  base::FdPair pipe = base::MakePipe().value();
  std::promise<void> readable, timer;
  bool cancelled_ran = false;
  const auto cancelled = loop->After(milliseconds(20), [&] { cancelled_ran = true; });
  loop->OnReadable(pipe.first.get(), [&] { readable.set_value(); });
  loop->After(milliseconds(60), [&] { timer.set_value(); });
  loop->Cancel(cancelled);
  loop->Cancel(12345);
  ASSERT_TRUE(base::WriteAll(pipe.second.get(), "x").ok());
  EXPECT_EQ(readable.get_future().wait_for(seconds(10)), std::future_status::ready);
  EXPECT_EQ(timer.get_future().wait_for(seconds(10)), std::future_status::ready);
  EXPECT_FALSE(cancelled_ran);
  // The same descriptor again: a watch fires once.
  std::promise<void> again;
  loop->OnReadable(pipe.first.get(), [&] { again.set_value(); });
  EXPECT_EQ(again.get_future().wait_for(seconds(10)), std::future_status::ready);
}

TEST(FileWatcher, TellsEverySubscriber) {
  auto loop = EventLoop::Create().value();
  auto watcher = FileWatcher::Create(*loop).value();
  auto folder = base::TemporaryDirectory::Create().value();
  const std::string path = folder.path() + "/log";
  EXPECT_EQ(watcher->Subscribe(path, [] {}).status().code(), absl::StatusCode::kNotFound);
  base::Fd file = base::Open(path, O_WRONLY | O_CREAT, 0600).value();
  std::atomic<int> first = 0, second = 0;
  std::promise<void> told;
  const uint64_t one = watcher->Subscribe(path, [&] { ++first; }).value();
  watcher
      ->Subscribe(path,
                  [&] {
                    if (++second == 1) told.set_value();
                  })
      .value();
  watcher->Unsubscribe(one);
  ASSERT_TRUE(base::WriteAll(file.get(), "x").ok());
  EXPECT_EQ(told.get_future().wait_for(seconds(10)), std::future_status::ready);
  EXPECT_EQ(first, 0);
}

}  // namespace
}  // namespace container::apiserver
