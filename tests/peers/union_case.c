/* union_case: one timed piece of work in a mounted tree; prints nanoseconds.
 *
 *     union_case create DIR COUNT          COUNT files of 1 KiB in new directories of 100
 *     union_case stat DIR                  lstat of every file of the list
 *     union_case walk DIR                  every name below DIR with its attributes, as find(1) and du(1) read them
 *     union_case read DIR                  every file of the list read whole
 *     union_case read_file FILE            1 MiB reads to the end
 *     union_case first_write FILE          open for writing, 4 KiB in the middle, fsync
 *     union_case overwrite FILE COUNT      COUNT times 4 KiB at places of 64 MiB, spread evenly, each with fsync
 *
 * For stat and read, paths come from standard input, one a line, relative to DIR, and are read before timing.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char buffer[1 << 20];

static void die(const char *what) {
  perror(what);
  exit(1);
}

static long long now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void read_whole(const char *path) {
  int fd = open(path, O_RDONLY);
  ssize_t count;
  if (fd < 0) die(path);
  while ((count = read(fd, buffer, sizeof buffer)) > 0) {
  }
  if (count < 0) die(path);
  close(fd);
}

static void create(int files) {
  char path[64];
  for (int i = 0; i < files; ++i) {
    if (i % 100 == 0) {
      snprintf(path, sizeof path, "new%d", i / 100);
      if (mkdir(path, 0755) != 0) die(path);
    }
    snprintf(path, sizeof path, "new%d/file%d", i / 100, i);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);
    if (fd < 0 || write(fd, buffer, 1024) != 1024 || close(fd) != 0) die(path);
  }
}

static int walked(const char *path, const struct stat *status, int type, struct FTW *where) {
  (void)path, (void)status, (void)where;
  return type == FTW_NS || type == FTW_DNR;
}

static void first_write(const char *path) {
  int fd = open(path, O_WRONLY);
  if (fd < 0 || pwrite(fd, buffer, 4096, 32 << 20) != 4096 || fsync(fd) != 0 || close(fd) != 0) die(path);
}

static void overwrite(const char *path, int writes) {
  int fd = open(path, O_WRONLY);
  if (fd < 0) die(path);
  for (unsigned i = 0; i < (unsigned)writes; ++i) {
    const off_t place = i * 2654435761u % ((64u << 20) / 4096);
    if (pwrite(fd, buffer, 4096, place * 4096) != 4096 || fsync(fd) != 0) die(path);
  }
  close(fd);
}

static char **list_from_input(size_t *count) {
  size_t room = 1024, length;
  char **paths = malloc(room * sizeof *paths), *line = NULL;
  size_t line_room = 0;
  *count = 0;
  while ((length = getline(&line, &line_room, stdin)) != (size_t)-1) {
    if (*count == room) {
      char **more = realloc(paths, (room *= 2) * sizeof *paths);
      if (more == NULL) abort();
      paths = more;
    }
    line[strcspn(line, "\n")] = 0;
    paths[(*count)++] = strdup(line);
  }
  return paths;
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  const char *work = argv[1];
  const int on_file = strcmp(work, "read_file") == 0 || strcmp(work, "first_write") == 0 || strcmp(work, "overwrite") == 0;
  const int on_list = strcmp(work, "stat") == 0 || strcmp(work, "read") == 0;
  size_t count = 0;
  char **paths = on_list ? list_from_input(&count) : NULL;
  if (!on_file && chdir(argv[2]) != 0) die(argv[2]);
  const long long begin = now_ns();
  if (strcmp(work, "create") == 0) {
    create(atoi(argv[3]));
  } else if (strcmp(work, "stat") == 0) {
    struct stat status;
    for (size_t i = 0; i < count; ++i) {
      if (lstat(paths[i], &status) != 0) die(paths[i]);
    }
  } else if (strcmp(work, "walk") == 0) {
    if (nftw(".", walked, 16, FTW_PHYS) != 0) die("walk");
  } else if (strcmp(work, "read") == 0) {
    for (size_t i = 0; i < count; ++i) read_whole(paths[i]);
  } else if (strcmp(work, "read_file") == 0) {
    read_whole(argv[2]);
  } else if (strcmp(work, "overwrite") == 0) {
    overwrite(argv[2], atoi(argv[3]));
  } else {
    first_write(argv[2]);
  }
  printf("%lld\n", now_ns() - begin);
  return 0;
}
