/* Counts the calls that make something durable, process-wide, and makes one of them fail, or kills the process there.
 *
 * FAULT_AT=<n>           which call, from 1
 * FAULT_HOW=before       it did not happen, and fails
 *           after        it happened, and is reported as failed; of a write, half
 *           again        it did not happen, and fails with EINTR
 *           short        of a write, half happened, and that is told; other calls are left as they are
 *           kill         the process is killed in its place
 * FAULT_ERRNO=<number>   the error; without it, EIO, and ENOSPC for a write
 * FAULT_FOR_EVER=1       all later calls too
 * FAULT_WIDE=1           the calls that SQLite makes, and those by path, count as well
 * FAULT_FIRED=<file>     is made when it happens, and gets the name of the call
 * FAULT_RETRIED=<file>   gets the path of every regular file that is synced though a sync of it had failed
 * FAULT_LOG=<file>       gets the name of every call, whether one fails or not
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_int calls;

/* Appends a line to the file that the environment names, past our own functions. */
static void tell(const char *variable, const char *line) {
    const char *file = getenv(variable);
    if (!file) return;
    int fd = syscall(SYS_openat, AT_FDCWD, file, O_CREAT | O_WRONLY | O_APPEND, 0600);
    syscall(SYS_write, fd, line, strlen(line));
    syscall(SYS_write, fd, "\n", 1);
    syscall(SYS_close, fd);
}

/* How the call that comes now is to go wrong: empty, if it is not. */
static const char *fault(const char *name) {
    tell("FAULT_LOG", name);
    const char *at = getenv("FAULT_AT"), *how = getenv("FAULT_HOW");
    if (!at || !how) return "";
    int call = atomic_fetch_add(&calls, 1) + 1;
    if (call < atoi(at) || (call > atoi(at) && !getenv("FAULT_FOR_EVER"))) return "";
    if (call == atoi(at)) tell("FAULT_FIRED", name);
    if (!strcmp(how, "kill")) kill(getpid(), SIGKILL);
    return how;
}

static const char *wide_fault(const char *name) {
    return getenv("FAULT_WIDE") ? fault(name) : "";
}

static int fails(int otherwise) {
    const char *number = getenv("FAULT_ERRNO");
    errno = number ? atoi(number) : otherwise;
    return -1;
}

static int interrupted(void) {
    errno = EINTR;
    return -1;
}

#define IS(how, word) (!strcmp(how, word))

#define CALL(judge, type, name, parameters, arguments)          \
    type name parameters {                                      \
        type(*next) parameters = dlsym(RTLD_NEXT, #name);       \
        const char *how = judge(#name);                         \
        if (IS(how, "before")) return fails(EIO);               \
        if (IS(how, "again")) return interrupted();             \
        type done = next arguments;                             \
        if (IS(how, "after")) return fails(EIO);                \
        return done;                                            \
    }

CALL(fault, int, fchmod, (int fd, mode_t mode), (fd, mode))
CALL(fault, int, mkdirat, (int dir, const char *name, mode_t mode), (dir, name, mode))
CALL(fault, int, unlinkat, (int dir, const char *name, int flags), (dir, name, flags))
CALL(fault, int, linkat, (int from, const char *old, int to, const char *new, int flags), (from, old, to, new, flags))
CALL(fault, int, renameat, (int from, const char *old, int to, const char *new), (from, old, to, new))
CALL(fault, int, renameat2, (int from, const char *old, int to, const char *new, unsigned flags), (from, old, to, new, flags))
CALL(wide_fault, int, chmod, (const char *path, mode_t mode), (path, mode))
CALL(wide_fault, int, mkdir, (const char *path, mode_t mode), (path, mode))
CALL(wide_fault, int, rmdir, (const char *path), (path))
CALL(wide_fault, int, unlink, (const char *path), (path))
CALL(wide_fault, int, link, (const char *old, const char *new), (old, new))
CALL(wide_fault, int, rename, (const char *old, const char *new), (old, new))
CALL(wide_fault, int, ftruncate, (int fd, off_t size), (fd, size))
CALL(wide_fault, int, ftruncate64, (int fd, off64_t size), (fd, size))

/* Files of which a sync has failed. When a file was made tells it from a later one of the same number. */
#define FAILED_MAX 1024
static struct statx failed[FAILED_MAX];
static atomic_int failures;

static int identify(int fd, struct statx *file) {
    return statx(fd, "", AT_EMPTY_PATH, STATX_TYPE | STATX_INO | STATX_BTIME, file) == 0 && S_ISREG(file->stx_mode);
}

static void note_failed_sync(int fd) {
    struct statx file;
    if (!identify(fd, &file)) return;
    int place = atomic_fetch_add(&failures, 1);
    if (place < FAILED_MAX) failed[place] = file;
}

static void note_retried_sync(int fd) {
    struct statx file;
    int count = atomic_load(&failures);
    if (count == 0 || !identify(fd, &file)) return;
    for (int place = 0; place < count && place < FAILED_MAX; place++) {
        if (failed[place].stx_ino != file.stx_ino || failed[place].stx_dev_minor != file.stx_dev_minor) continue;
        if (memcmp(&failed[place].stx_btime, &file.stx_btime, sizeof file.stx_btime)) continue;
        char link[32], path[PATH_MAX];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(link, path, sizeof path - 1);
        path[length < 0 ? 0 : length] = 0;
        tell("FAULT_RETRIED", path);
    }
}

#define SYNC(judge, name)                                       \
    int name(int fd) {                                          \
        int (*next)(int) = dlsym(RTLD_NEXT, #name);             \
        note_retried_sync(fd);                                  \
        const char *how = judge(#name);                         \
        if (IS(how, "again")) return interrupted();             \
        if (IS(how, "before") || IS(how, "after")) {            \
            if (IS(how, "after")) next(fd);                     \
            note_failed_sync(fd);                               \
            return fails(EIO);                                  \
        }                                                       \
        return next(fd);                                        \
    }

SYNC(fault, fsync)
SYNC(wide_fault, fdatasync)

/* What wakes a thread is a write too, and comes when it comes. */
static int changes_a_file(int fd) {
    struct stat to;
    return fd > 2 && fstat(fd, &to) == 0 && S_ISREG(to.st_mode);
}

/* A write that is interrupted or short goes on with what is left, so something must be. */
static size_t half(size_t count) {
    return count > 1 ? count / 2 : count;
}

#define WRITE(judge, name, parameters, whole, part)             \
    ssize_t name parameters {                                   \
        ssize_t(*next) parameters = dlsym(RTLD_NEXT, #name);    \
        const char *how = changes_a_file(fd) ? judge(#name) : ""; \
        if (IS(how, "again")) return interrupted();             \
        if (IS(how, "before")) return fails(ENOSPC);            \
        if (IS(how, "short")) return next part;                 \
        if (IS(how, "after")) { next part; return fails(ENOSPC); } \
        return next whole;                                      \
    }

WRITE(fault, write, (int fd, const void *bytes, size_t count), (fd, bytes, count), (fd, bytes, half(count)))
WRITE(wide_fault, pwrite, (int fd, const void *bytes, size_t count, off_t at), (fd, bytes, count, at), (fd, bytes, half(count), at))
WRITE(wide_fault, pwrite64, (int fd, const void *bytes, size_t count, off64_t at), (fd, bytes, count, at), (fd, bytes, half(count), at))

/* Only what may make a file counts. */
#define OPEN(judge, called, name, parameters, arguments)                                         \
    int name parameters {                                                                        \
        va_list rest;                                                                            \
        va_start(rest, flags);                                                                   \
        mode_t mode = va_arg(rest, mode_t);                                                      \
        va_end(rest);                                                                            \
        int makes = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;                       \
        const char *how = makes ? judge(called) : "";                                            \
        if (IS(how, "before")) return fails(EIO);                                                \
        if (IS(how, "again")) return interrupted();                                              \
        int fd = NEXT_##name arguments;                                                          \
        if (IS(how, "after")) { close(fd); return fails(EIO); }                                  \
        return fd;                                                                               \
    }

#define NEXT(name, ...) ((int (*)(__VA_ARGS__, ...))dlsym(RTLD_NEXT, #name))
#define NEXT_openat NEXT(openat, int, const char *, int)
#define NEXT_openat64 NEXT(openat64, int, const char *, int)
#define NEXT_open NEXT(open, const char *, int)
#define NEXT_open64 NEXT(open64, const char *, int)

OPEN(fault, "openat", openat, (int dir, const char *path, int flags, ...), (dir, path, flags, mode))
OPEN(fault, "openat", openat64, (int dir, const char *path, int flags, ...), (dir, path, flags, mode))
OPEN(wide_fault, "open", open, (const char *path, int flags, ...), (path, flags, mode))
OPEN(wide_fault, "open", open64, (const char *path, int flags, ...), (path, flags, mode))
