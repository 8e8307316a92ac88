/* bare_first_write.c: the calls of copy_up.first_write on overlay2, and nothing else.
 *
 *   bare_first_write DEVICE ROOT FILE_BYTES
 *
 * DEVICE carries a fresh ext4; it is mounted at ROOT. Makes a lower directory with
 * one file of random bytes, mounts an overlay over it with overlay2's options, reads
 * the file (warm cache), syncs, then times open, pwrite of 4 KiB, fsync, close.
 * Prints the nanoseconds. Run it in a mount namespace of its own: it cleans nothing up.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void die(const char *what) {
  perror(what);
  exit(1);
}

static long long now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  const char *device = argv[1];
  const char *root = argv[2];
  const long long size = atoll(argv[3]);
  enum { kBuffer = 1 << 20 };
  static char buffer[kBuffer];

  if (mount(device, root, "ext4", MS_NOATIME, NULL) != 0) die("mount ext4");
  if (chdir(root) != 0) die(root);
  const char *folders[] = {"lower", "lower/data", "upper", "work", "merged"};
  for (size_t i = 0; i < sizeof folders / sizeof *folders; ++i)
    if (mkdir(folders[i], 0755) != 0) die(folders[i]);
  int random = open("/dev/urandom", O_RDONLY);
  int file = open("lower/data/file", O_WRONLY | O_CREAT | O_EXCL, 0644);
  if (random < 0 || file < 0) die("lower file");
  for (long long done = 0; done < size; done += kBuffer) {
    if (read(random, buffer, kBuffer) != kBuffer) die("urandom");
    if (write(file, buffer, kBuffer) != kBuffer) die("write lower");
  }
  if (fsync(file) != 0) die("fsync lower");
  close(file);

  if (mount("overlay", "merged", "overlay", 0,
            "lowerdir=lower,upperdir=upper,workdir=work,index=off,metacopy=off,redirect_dir=off") != 0)
    die("mount overlay");
  file = open("merged/data/file", O_RDONLY);
  while (read(file, buffer, kBuffer) > 0) continue;
  close(file);
  int directory = open(".", O_RDONLY);
  if (syncfs(directory) != 0) die("syncfs");
  const struct timespec pause = {0, 20000000};
  nanosleep(&pause, NULL);
  memset(buffer, 'x', 4096);

  const long long start = now_ns();
  file = open("merged/data/file", O_WRONLY | O_CLOEXEC);
  if (file < 0) die("open");
  if (pwrite(file, buffer, 4096, (size - 4096) / 2) != 4096) die("pwrite");
  if (fsync(file) != 0) die("fsync");
  close(file);
  printf("%lld\n", now_ns() - start);
  return 0;
}
