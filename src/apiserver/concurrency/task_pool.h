// Threads that run tasks, and queues that run theirs one after another on them.
//
// Tasks may block (a start waits for a VM), so the pool grows with what is under way up to a bound
// and shrinks when idle. Thread-safe. Tasks must not throw.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>

namespace container::apiserver {

using Task = std::function<void()>;

class TaskPool {
 public:
  explicit TaskPool(size_t most_threads) : most_threads_(most_threads) {}
  /// Waits until every task has run: call it after whatever posts tasks has stopped.
  ~TaskPool();
  TaskPool(const TaskPool&) = delete;
  TaskPool& operator=(const TaskPool&) = delete;

  void Post(Task task);

 private:
  void Work();

  const size_t most_threads_;
  std::mutex mutex_;
  std::condition_variable task_added_;
  std::condition_variable thread_ended_;
  std::deque<Task> tasks_;
  size_t threads_ = 0;
  size_t idle_ = 0;
  bool closing_ = false;
};

/// Runs its tasks in the order they were posted, one at a time. The pool must outlive the tasks;
/// the queue itself may die before them.
class SerialQueue {
 public:
  explicit SerialQueue(TaskPool& pool) : shared_(std::make_shared<Shared>(pool)) {}
  void Post(Task task);

 private:
  struct Shared {
    explicit Shared(TaskPool& task_pool) : pool(task_pool) {}
    TaskPool& pool;
    std::mutex mutex;
    std::deque<Task> tasks;
    bool active = false;
  };
  static void RunOne(std::shared_ptr<Shared> shared);
  std::shared_ptr<Shared> shared_;
};

}  // namespace container::apiserver
