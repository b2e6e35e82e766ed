/* Counts the calls that change an archive and makes one of them fail, or kills the process there.
 *
 * FAULT_AT=<n>       which call, from 1
 * FAULT_HOW=before   it did not happen, and fails with EIO
 *           after    it happened, and is reported as failed with EIO
 *           again    it did not happen, and fails with EINTR
 *           kill     the process is killed in its place
 * FAULT_FIRED=<file> is made when it happens
 * FAULT_LOG=<file>   gets the name of every call, whether one fails or not
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_int calls;

static void note(const char *name) {
    const char *log = getenv("FAULT_LOG");
    if (!log) return;
    int fd = syscall(SYS_openat, AT_FDCWD, log, O_CREAT | O_WRONLY | O_APPEND, 0600);
    syscall(SYS_write, fd, name, strlen(name));
    syscall(SYS_write, fd, "\n", 1);
    syscall(SYS_close, fd);
}

static const char *fault(const char *name) {
    note(name);
    const char *at = getenv("FAULT_AT"), *how = getenv("FAULT_HOW"), *fired = getenv("FAULT_FIRED");
    if (!at || !how || atomic_fetch_add(&calls, 1) + 1 != atoi(at)) return "";
    if (fired) syscall(SYS_openat, AT_FDCWD, fired, O_CREAT | O_WRONLY, 0600);
    if (!strcmp(how, "kill")) kill(getpid(), SIGKILL);
    return how;
}

#define CALL(type, name, parameters, arguments)                      \
    type name parameters {                                           \
        type(*next) parameters = dlsym(RTLD_NEXT, #name);            \
        const char *how = fault(#name);                                   \
        if (!strcmp(how, "before")) { errno = EIO; return -1; }      \
        if (!strcmp(how, "again")) { errno = EINTR; return -1; }     \
        type done = next arguments;                                  \
        if (!strcmp(how, "after")) { errno = EIO; return -1; }       \
        return done;                                                 \
    }

CALL(int, fsync, (int fd), (fd))
CALL(int, fchmod, (int fd, mode_t mode), (fd, mode))
CALL(int, mkdirat, (int dir, const char *name, mode_t mode), (dir, name, mode))
CALL(int, unlinkat, (int dir, const char *name, int flags), (dir, name, flags))
CALL(int, linkat, (int from, const char *old, int to, const char *new, int flags), (from, old, to, new, flags))
CALL(int, renameat, (int from, const char *old, int to, const char *new), (from, old, to, new))
CALL(int, renameat2, (int from, const char *old, int to, const char *new, unsigned flags), (from, old, to, new, flags))

/* A write that happened and is reported as failed is a short write to the file: the same as "before" for us. */
ssize_t write(int fd, const void *bytes, size_t count) {
    ssize_t (*next)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    struct stat to;
    /* What wakes a thread is a write too, and comes when it comes. */
    int changes = fd > 2 && fstat(fd, &to) == 0 && S_ISREG(to.st_mode);
    const char *how = changes ? fault("write") : "";
    if (!strcmp(how, "again")) { errno = EINTR; return -1; }
    if (!strcmp(how, "before")) { errno = ENOSPC; return -1; }
    if (!strcmp(how, "after")) { next(fd, bytes, count / 2); errno = ENOSPC; return -1; }
    return next(fd, bytes, count);
}

#define OPEN(name)                                                                          \
    int name(int dir, const char *path, int flags, ...) {                                   \
        int (*next)(int, const char *, int, ...) = dlsym(RTLD_NEXT, #name);                 \
        va_list rest;                                                                       \
        va_start(rest, flags);                                                              \
        mode_t mode = va_arg(rest, mode_t);                                                 \
        va_end(rest);                                                                       \
        int makes = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;                  \
        const char *how = makes ? fault("openat") : "";                                             \
        if (!strcmp(how, "before")) { errno = EIO; return -1; }                             \
        if (!strcmp(how, "again")) { errno = EINTR; return -1; }                            \
        int fd = next(dir, path, flags, mode);                                              \
        if (!strcmp(how, "after")) { close(fd); errno = EIO; return -1; }                   \
        return fd;                                                                          \
    }

OPEN(openat)
OPEN(openat64)
