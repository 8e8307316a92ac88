// tree_lock.h: a shared mutex in which writers do not starve.
//
// std::shared_mutex lets readers in while a writer waits; with a server's
// threads always reading, a rename could wait for ever. Not recursive, neither
// way: a thread that holds it shared must not ask for it again.
#pragma once

#include <pthread.h>

#include "drivers/base/check.h"

namespace sbench::union_fs {

class TreeLock {
 public:
  TreeLock() {
    pthread_rwlockattr_t attributes;
    ::pthread_rwlockattr_init(&attributes);
    ::pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    SBENCH_CHECK(::pthread_rwlock_init(&lock_, &attributes) == 0);
    ::pthread_rwlockattr_destroy(&attributes);
  }
  ~TreeLock() { ::pthread_rwlock_destroy(&lock_); }
  TreeLock(const TreeLock&) = delete;
  TreeLock& operator=(const TreeLock&) = delete;

  // The names that std::unique_lock and std::shared_lock call.
  void lock() { SBENCH_CHECK(::pthread_rwlock_wrlock(&lock_) == 0); }
  void unlock() { ::pthread_rwlock_unlock(&lock_); }
  void lock_shared() { SBENCH_CHECK(::pthread_rwlock_rdlock(&lock_) == 0); }
  void unlock_shared() { ::pthread_rwlock_unlock(&lock_); }

 private:
  pthread_rwlock_t lock_{};
};

}  // namespace sbench::union_fs
