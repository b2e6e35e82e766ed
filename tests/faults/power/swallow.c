/* Lets a disk lose what a program forgets to sync: some of its syncs are swallowed, and told as done.
 *
 * SWALLOW=files        those of files outside of the state
 *         directories  those of folders outside of the state
 *         normal       those that SQLite omits with `synchronous = NORMAL`: of the write-ahead log after a commit. Those before
 *                      a checkpoint, and of the log's header, are done.
 *         everything   all of them
 * SWALLOW_STATE=<dir>  the state folder
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Whether frames were written to the log since it was synced last, or was said to be. */
static atomic_bool frames;

static void path_of(int fd, char path[PATH_MAX]) {
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
}

static int is_log(const char *path) {
    size_t length = strlen(path);
    return length > 4 && !strcmp(path + length - 4, "-wal");
}

static int is_swallowed(int fd) {
    const char *what = getenv("SWALLOW"), *state = getenv("SWALLOW_STATE");
    char path[PATH_MAX];
    struct stat file;
    if (!what || !state || fstat(fd, &file)) return 0;
    path_of(fd, path);
    int outside = strncmp(path, state, strlen(state)) != 0;
    if (!strcmp(what, "everything")) return 1;
    if (!strcmp(what, "files")) return outside && S_ISREG(file.st_mode);
    if (!strcmp(what, "directories")) return outside && S_ISDIR(file.st_mode);
    return !strcmp(what, "normal") && is_log(path) && atomic_exchange(&frames, 0);
}

/* The log begins with its header; all else in it is frames. */
static void note_write(int fd, off_t offset) {
    char path[PATH_MAX];
    if (offset == 0) return;
    path_of(fd, path);
    if (is_log(path)) atomic_store(&frames, 1);
}

#define SYNC(name)                                             \
    int name(int fd) {                                         \
        int (*next)(int) = dlsym(RTLD_NEXT, #name);            \
        return is_swallowed(fd) ? 0 : next(fd);                \
    }

SYNC(fsync)
SYNC(fdatasync)

#define WRITE(name)                                                                   \
    ssize_t name(int fd, const void *bytes, size_t count, off_t offset) {             \
        ssize_t (*next)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, #name);  \
        note_write(fd, offset);                                                       \
        return next(fd, bytes, count, offset);                                        \
    }

WRITE(pwrite)
WRITE(pwrite64)
