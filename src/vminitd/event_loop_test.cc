#include "vminitd/event_loop.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <string>
#include <thread>

#include "base/fd.h"

namespace container::vminitd {
namespace {

// Run never returns, so that each test's loop ends with its thread.
void RunUntilExit(EventLoop& loop) {
  std::thread([&loop] { loop.Run(); }).join();
}

TEST(EventLoopTest, RunsTasksWatchesAndTimersInOrder) {
  absl::StatusOr<std::unique_ptr<EventLoop>> loop = EventLoop::Create();
  ASSERT_TRUE(loop.ok());
  absl::StatusOr<base::FdPair> pipe = base::MakePipe();
  ASSERT_TRUE(pipe.ok());
  std::string order;
  (*loop)->Post([&] { order += "a"; });
  (*loop)->Post([&] {
    order += "b";
    EXPECT_TRUE((*loop)
                    ->Watch(pipe->first.get(), EPOLLIN,
                            [&] {
                              char byte;
                              EXPECT_EQ(::read(pipe->first.get(), &byte, 1), 1);
                              order += byte;
                              if (byte == 'd') return (*loop)->Unwatch(pipe->first.get());
                              (*loop)->Arm(pipe->first.get(), EPOLLIN);
                            })
                    .ok());
    (*loop)->PostAfter(std::chrono::milliseconds(60), [&] {
      order += "f";
      ::pthread_exit(nullptr);
    });
    (*loop)->PostAfter(std::chrono::milliseconds(30), [&] { order += "e"; });
    EXPECT_EQ(::write(pipe->second.get(), "cdx", 3), 3);
  });
  RunUntilExit(**loop);
  EXPECT_EQ(order, "abcdef");
}

}  // namespace
}  // namespace container::vminitd
