#include "apiserver/concurrency/task_pool.h"

#include <chrono>
#include <thread>
#include <utility>

namespace container::apiserver {

namespace {
constexpr std::chrono::seconds kIdleLife(5);
}  // namespace

TaskPool::~TaskPool() {
  std::unique_lock lock(mutex_);
  closing_ = true;
  task_added_.notify_all();
  thread_ended_.wait(lock, [this] { return threads_ == 0; });
}

void TaskPool::Post(Task task) {
  std::lock_guard lock(mutex_);
  tasks_.push_back(std::move(task));
  if (idle_ >= tasks_.size() || threads_ >= most_threads_) {
    task_added_.notify_one();
    return;
  }
  ++threads_;
  std::thread([this] { Work(); }).detach();
}

void TaskPool::Work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    while (!tasks_.empty()) {
      Task task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      task();
      task = nullptr;  // What it holds dies outside the lock.
      lock.lock();
    }
    if (closing_) break;
    ++idle_;
    const bool woken =
        task_added_.wait_for(lock, kIdleLife, [this] { return closing_ || !tasks_.empty(); });
    --idle_;
    if (!woken) break;
  }
  --threads_;
  thread_ended_.notify_all();
}

void SerialQueue::Post(Task task) {
  {
    std::lock_guard lock(shared_->mutex);
    shared_->tasks.push_back(std::move(task));
    if (shared_->active) return;
    shared_->active = true;
  }
  shared_->pool.Post([shared = shared_] { RunOne(shared); });
}

void SerialQueue::RunOne(std::shared_ptr<Shared> shared) {
  Task task;
  {
    std::lock_guard lock(shared->mutex);
    task = std::move(shared->tasks.front());
    shared->tasks.pop_front();
  }
  task();
  task = nullptr;
  {
    std::lock_guard lock(shared->mutex);
    if (shared->tasks.empty()) {
      shared->active = false;
      return;
    }
  }
  // Back to the pool, so that a long queue does not keep others waiting.
  shared->pool.Post([shared] { RunOne(shared); });
}

}  // namespace container::apiserver
