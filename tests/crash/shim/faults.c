/* Faults at chosen storage calls: counts every call on files under one folder, and at the n-th kills the process,
 * half way through a write if asked, or makes the call fail or fall short. Loaded by LD_PRELOAD.
 *
 * JOBQ_FAULT_DIR    absolute folder whose calls are counted
 * JOBQ_FAULT_TALLY  file of 64-bit counters, one per kind of call in the order of KINDS, kept up to date live
 * JOBQ_FAULT_KINDS  which calls count: "all" that open or change (default), "moving" (write and its like), "reads", or the
 *                   name of one kind
 * JOBQ_FAULT_MATCH  only calls on paths, or descriptors opened by paths, that have this in them (of a rename: the new)
 * JOBQ_FAULT_AT     which call, from 1; 0: none
 * JOBQ_FAULT_MODE   "kill", "half" (half of a write, then kill), "error", "short" (half of a write, no error),
 *                   "skip" (nothing is done, and success is told)
 * JOBQ_FAULT_ERRNO  number, for "error"
 * JOBQ_FAULT_STICKY "1": every call from the n-th on
 *
 * What it cannot see are system calls made without libc, and stores to a mapped file: test_shim.py holds the
 * counts against strace.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define KINDS(X)                                                                                                       \
    X(open) X(write) X(pwrite64) X(writev) X(pwritev) X(fsync) X(fdatasync) X(sync_file_range) X(ftruncate)            \
    X(truncate) X(fallocate) X(rename) X(unlink) X(mkdir) X(rmdir) X(link) X(symlink) X(chmod) X(chown)                         \
    X(read) X(pread64) X(readv) X(preadv)
#define NAME(kind) K_##kind,
enum kind { KINDS(NAME) KIND_COUNT };
#define TEXT(kind) #kind,
static const char *const names[] = {KINDS(TEXT)};

enum mode { M_NONE, M_KILL, M_HALF, M_ERROR, M_SHORT, M_SKIP };
enum { FDS = 65536 };

static char folder[PATH_MAX];
static size_t folder_length;
static enum mode mode;
static uint64_t at;
static int error_number;
static bool sticky;
static enum { C_ALL, C_MOVING, C_READS, C_ONE } chosen;
static enum kind the_one;
static char match[256];
static atomic_uchar inside[FDS]; /* 1: this descriptor is of a file or folder under the folder; 2: and it is named */
static _Atomic uint64_t counted; /* calls of the chosen kinds */
static _Atomic uint64_t own_tally[KIND_COUNT];
static _Atomic uint64_t *tally = own_tally;

static const char *setting(const char *name) {
    const char *value = getenv(name);
    return value == NULL ? "" : value;
}

static void map_tally(const char *path) {
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, sizeof own_tally) != 0)
        return;
    void *shared = mmap(NULL, sizeof own_tally, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (shared != MAP_FAILED)
        tally = shared;
}

/* Read the settings; called again by a forked child that was given new ones. */
__attribute__((constructor)) void jobq_faults_prepare(void) {
    folder_length = 0;
    snprintf(folder, sizeof folder, "%s", setting("JOBQ_FAULT_DIR"));
    const char *how = setting("JOBQ_FAULT_MODE");
    mode = !strcmp(how, "kill")    ? M_KILL
           : !strcmp(how, "half")  ? M_HALF
           : !strcmp(how, "error") ? M_ERROR
           : !strcmp(how, "short") ? M_SHORT
           : !strcmp(how, "skip")  ? M_SKIP
                                   : M_NONE;
    at = strtoull(setting("JOBQ_FAULT_AT"), NULL, 10);
    error_number = atoi(setting("JOBQ_FAULT_ERRNO"));
    sticky = !strcmp(setting("JOBQ_FAULT_STICKY"), "1");
    const char *kinds = setting("JOBQ_FAULT_KINDS");
    chosen = !strcmp(kinds, "moving") ? C_MOVING : !strcmp(kinds, "reads") ? C_READS : C_ALL;
    for (int kind = 0; kind < KIND_COUNT; kind++)
        if (!strcmp(kinds, names[kind])) {
            chosen = C_ONE;
            the_one = kind;
        }
    snprintf(match, sizeof match, "%s", setting("JOBQ_FAULT_MATCH"));
    if (*setting("JOBQ_FAULT_TALLY"))
        map_tally(setting("JOBQ_FAULT_TALLY"));
    folder_length = strlen(folder); /* last: nothing is counted before */
}

static bool under(const char *path) {
    return folder_length > 0 && !strncmp(path, folder, folder_length) &&
           (path[folder_length] == '/' || path[folder_length] == 0);
}

static bool ours(int fd) { return fd >= 0 && fd < FDS && atomic_load(&inside[fd]); }

/* Whether JOBQ_FAULT_MATCH, if it is set, is in the path; or was in the one that a descriptor was opened by. */
static bool named(const char *path) { return match[0] == 0 || (path != NULL && strstr(path, match) != NULL); }
static bool named_fd(int fd) { return match[0] == 0 || atomic_load(&inside[fd]) == 2; }

/* A path as a call was given it: absolute, or relative to a folder's descriptor. */
static bool ours_at(int fd, const char *path) {
    if (path == NULL)
        return false;
    if (path[0] == '/')
        return under(path);
    if (fd != AT_FDCWD)
        return ours(fd);
    char here[PATH_MAX], whole[2 * PATH_MAX];
    if (getcwd(here, sizeof here) == NULL)
        return false;
    snprintf(whole, sizeof whole, "%s/%s", here, path);
    return under(whole);
}

static void die(void) {
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;)
        pause();
}

static bool counts(enum kind kind) {
    switch (chosen) {
    case C_ONE:
        return kind == the_one;
    case C_READS:
        return kind >= K_read;
    case C_MOVING:
        return kind >= K_write && kind <= K_pwritev;
    default:
        return kind < K_read;
    }
}

/* Count a call; what is to happen to it. */
static enum mode strike(enum kind kind, bool chosen_by_name) {
    atomic_fetch_add(&tally[kind], 1);
    if (!counts(kind) || !chosen_by_name)
        return M_NONE;
    uint64_t number = atomic_fetch_add(&counted, 1) + 1;
    if (at == 0 || (sticky ? number < at : number != at))
        return M_NONE;
    return mode;
}

#define REAL(name) ((__typeof__(&name))real(#name))
static void *real(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (found == NULL)
        abort();
    return found;
}

/* A call that moves no bytes, on a descriptor or on a path. */
#define ON_FD(kind, fd, call) PLAIN(kind, ours(fd), named_fd(fd), call)
#define ON_PATH(kind, fd, path, call) PLAIN(kind, ours_at(fd, path), named(path), call)
#define PLAIN(kind, concerned, chosen_by_name, call)                                                                   \
    do {                                                                                                               \
        if (concerned) {                                                                                               \
            enum mode hit = strike(kind, chosen_by_name);                                                              \
            if (hit == M_KILL || hit == M_HALF)                                                                        \
                die();                                                                                                 \
            if (hit == M_ERROR) {                                                                                      \
                errno = error_number;                                                                                  \
                return -1;                                                                                             \
            }                                                                                                          \
            if (hit == M_SKIP)                                                                                         \
                return 0;                                                                                              \
        }                                                                                                              \
        return call;                                                                                                   \
    } while (0)

/* A call that moves bytes: `half` does the first half of them, `all` is how many they are. */
#define MOVING(kind, fd, all, call, half)                                                                              \
    do {                                                                                                               \
        if (ours(fd)) {                                                                                                \
            enum mode hit = strike(kind, named_fd(fd));                                                                \
            if (hit == M_KILL)                                                                                         \
                die();                                                                                                 \
            if (hit == M_HALF) {                                                                                       \
                if ((half) < 0)                                                                                        \
                    abort();                                                                                           \
                die();                                                                                                 \
            }                                                                                                          \
            if (hit == M_ERROR) {                                                                                      \
                errno = error_number;                                                                                  \
                return -1;                                                                                             \
            }                                                                                                          \
            if (hit == M_SHORT)                                                                                        \
                return half;                                                                                           \
            if (hit == M_SKIP)                                                                                         \
                return all;                                                                                            \
        }                                                                                                              \
        return call;                                                                                                   \
    } while (0)

/* At least one byte, so that a short write makes way as a real one does; of one byte, all. */
static size_t part(size_t length) { return length > 1 ? length / 2 : length; }

static int opened(int fd, unsigned char how) {
    if (fd >= 0 && fd < FDS)
        atomic_store(&inside[fd], how);
    return fd;
}

static int open_at(int folder_fd, const char *path, int flags, mode_t bits) {
    static int (*next)(int, const char *, int, ...);
    if (next == NULL)
        next = REAL(openat);
    bool concerned = ours_at(folder_fd, path);
    if (concerned) {
        enum mode hit = strike(K_open, named(path));
        if (hit == M_KILL || hit == M_HALF)
            die();
        if (hit == M_ERROR) {
            errno = error_number;
            return -1;
        }
    }
    return opened(next(folder_fd, path, flags, bits), concerned ? 1 + (match[0] && named(path)) : 0);
}

static mode_t bits_of(int flags, va_list more) {
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0;
}

#define OPEN(name)                                                                                                     \
    int name(const char *path, int flags, ...) {                                                                       \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        mode_t bits = bits_of(flags, more);                                                                            \
        va_end(more);                                                                                                  \
        return open_at(AT_FDCWD, path, flags, bits);                                                                   \
    }
#define OPENAT(name)                                                                                                   \
    int name(int fd, const char *path, int flags, ...) {                                                               \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        mode_t bits = bits_of(flags, more);                                                                            \
        va_end(more);                                                                                                  \
        return open_at(fd, path, flags, bits);                                                                         \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
int creat(const char *path, mode_t bits) { return open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, bits); }
int creat64(const char *path, mode_t bits) { return creat(path, bits); }

/* libc opens a folder without asking its own open(). */
DIR *opendir(const char *path) {
    int fd = open_at(AT_FDCWD, path, O_RDONLY | O_NONBLOCK | O_DIRECTORY | O_CLOEXEC, 0);
    return fd < 0 ? NULL : fdopendir(fd);
}

static void closed(int fd) {
    if (fd >= 0 && fd < FDS)
        atomic_store(&inside[fd], 0);
}

int closedir(DIR *stream) {
    closed(dirfd(stream));
    return REAL(closedir)(stream);
}

int close(int fd) {
    closed(fd);
    return REAL(close)(fd);
}

static unsigned char known(int fd) { return ours(fd) ? atomic_load(&inside[fd]) : 0; }

int dup(int fd) { return opened(REAL(dup)(fd), known(fd)); }
int dup2(int fd, int other) { return opened(REAL(dup2)(fd, other), known(fd)); }
int dup3(int fd, int other, int flags) { return opened(REAL(dup3)(fd, other, flags), known(fd)); }

static int control(const char *name, int fd, int command, void *argument) {
    int got = ((int (*)(int, int, ...))real(name))(fd, command, argument);
    return command == F_DUPFD || command == F_DUPFD_CLOEXEC ? opened(got, known(fd)) : got;
}
int fcntl(int fd, int command, ...) {
    va_list more;
    va_start(more, command);
    void *argument = va_arg(more, void *);
    va_end(more);
    return control("fcntl", fd, command, argument);
}
int fcntl64(int fd, int command, ...) {
    va_list more;
    va_start(more, command);
    void *argument = va_arg(more, void *);
    va_end(more);
    return control("fcntl64", fd, command, argument);
}

ssize_t write(int fd, const void *from, size_t size) {
    static __typeof__(&write) next;
    if (next == NULL)
        next = REAL(write);
    MOVING(K_write, fd, (ssize_t)size, next(fd, from, size), next(fd, from, part(size)));
}
ssize_t pwrite(int fd, const void *from, size_t size, off_t where) {
    MOVING(K_pwrite64, fd, (ssize_t)size, REAL(pwrite)(fd, from, size, where), REAL(pwrite)(fd, from, part(size), where));
}
ssize_t pwrite64(int fd, const void *from, size_t size, off_t where) { return pwrite(fd, from, size, where); }

/* Half of a vector: its first piece alone, or half of that when it is the only one. */
static struct iovec first_half(const struct iovec *pieces, int count) {
    struct iovec first = pieces[0];
    if (count == 1)
        first.iov_len = part(first.iov_len);
    return first;
}
static ssize_t total(const struct iovec *pieces, int count) {
    ssize_t bytes = 0;
    for (int piece = 0; piece < count; piece++)
        bytes += (ssize_t)pieces[piece].iov_len;
    return bytes;
}
ssize_t writev(int fd, const struct iovec *pieces, int count) {
    struct iovec half = count > 0 ? first_half(pieces, count) : (struct iovec){0};
    MOVING(K_writev, fd, total(pieces, count), REAL(writev)(fd, pieces, count), REAL(writev)(fd, &half, 1));
}
ssize_t pwritev(int fd, const struct iovec *pieces, int count, off_t where) {
    struct iovec half = count > 0 ? first_half(pieces, count) : (struct iovec){0};
    MOVING(K_pwritev, fd, total(pieces, count), REAL(pwritev)(fd, pieces, count, where), REAL(pwritev)(fd, &half, 1, where));
}
ssize_t pwritev64(int fd, const struct iovec *pieces, int count, off_t where) {
    return pwritev(fd, pieces, count, where);
}

ssize_t read(int fd, void *to, size_t size) {
    static __typeof__(&read) next;
    if (next == NULL)
        next = REAL(read);
    MOVING(K_read, fd, (ssize_t)size, next(fd, to, size), next(fd, to, part(size)));
}
ssize_t pread(int fd, void *to, size_t size, off_t where) {
    MOVING(K_pread64, fd, (ssize_t)size, REAL(pread)(fd, to, size, where), REAL(pread)(fd, to, part(size), where));
}
ssize_t pread64(int fd, void *to, size_t size, off_t where) { return pread(fd, to, size, where); }
ssize_t readv(int fd, const struct iovec *pieces, int count) {
    struct iovec half = count > 0 ? first_half(pieces, count) : (struct iovec){0};
    MOVING(K_readv, fd, total(pieces, count), REAL(readv)(fd, pieces, count), REAL(readv)(fd, &half, 1));
}
ssize_t preadv(int fd, const struct iovec *pieces, int count, off_t where) {
    struct iovec half = count > 0 ? first_half(pieces, count) : (struct iovec){0};
    MOVING(K_preadv, fd, total(pieces, count), REAL(preadv)(fd, pieces, count, where), REAL(preadv)(fd, &half, 1, where));
}
ssize_t preadv64(int fd, const struct iovec *pieces, int count, off_t where) { return preadv(fd, pieces, count, where); }

int fsync(int fd) { ON_FD(K_fsync, fd, REAL(fsync)(fd)); }
int fdatasync(int fd) { ON_FD(K_fdatasync, fd, REAL(fdatasync)(fd)); }
int sync_file_range(int fd, off64_t from, off64_t length, unsigned flags) {
    ON_FD(K_sync_file_range, fd, REAL(sync_file_range)(fd, from, length, flags));
}
int ftruncate(int fd, off_t length) { ON_FD(K_ftruncate, fd, REAL(ftruncate)(fd, length)); }
int ftruncate64(int fd, off_t length) { return ftruncate(fd, length); }
int truncate(const char *path, off_t length) {
    ON_PATH(K_truncate, AT_FDCWD, path, REAL(truncate)(path, length));
}
int truncate64(const char *path, off_t length) { return truncate(path, length); }
int fallocate(int fd, int how, off_t from, off_t length) {
    ON_FD(K_fallocate, fd, REAL(fallocate)(fd, how, from, length));
}
int fallocate64(int fd, int how, off_t from, off_t length) { return fallocate(fd, how, from, length); }
/* Of the family of errors that are returned, not set. */
int posix_fallocate(int fd, off_t from, off_t length) {
    if (ours(fd)) {
        enum mode hit = strike(K_fallocate, named_fd(fd));
        if (hit == M_KILL || hit == M_HALF)
            die();
        if (hit == M_ERROR)
            return error_number;
    }
    return REAL(posix_fallocate)(fd, from, length);
}
int posix_fallocate64(int fd, off_t from, off_t length) { return posix_fallocate(fd, from, length); }

int rename(const char *from, const char *to) {
    ON_PATH(K_rename, AT_FDCWD, to, REAL(rename)(from, to));
}
int renameat(int from_fd, const char *from, int to_fd, const char *to) {
    ON_PATH(K_rename, to_fd, to, REAL(renameat)(from_fd, from, to_fd, to));
}
int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags) {
    ON_PATH(K_rename, to_fd, to, REAL(renameat2)(from_fd, from, to_fd, to, flags));
}
int unlink(const char *path) { ON_PATH(K_unlink, AT_FDCWD, path, REAL(unlink)(path)); }
int unlinkat(int fd, const char *path, int flags) {
    ON_PATH(flags & AT_REMOVEDIR ? K_rmdir : K_unlink, fd, path, REAL(unlinkat)(fd, path, flags));
}
int mkdir(const char *path, mode_t bits) { ON_PATH(K_mkdir, AT_FDCWD, path, REAL(mkdir)(path, bits)); }
int mkdirat(int fd, const char *path, mode_t bits) { ON_PATH(K_mkdir, fd, path, REAL(mkdirat)(fd, path, bits)); }
int rmdir(const char *path) { ON_PATH(K_rmdir, AT_FDCWD, path, REAL(rmdir)(path)); }
int link(const char *from, const char *to) { ON_PATH(K_link, AT_FDCWD, to, REAL(link)(from, to)); }
int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags) {
    ON_PATH(K_link, to_fd, to, REAL(linkat)(from_fd, from, to_fd, to, flags));
}
int symlink(const char *to, const char *path) { ON_PATH(K_symlink, AT_FDCWD, path, REAL(symlink)(to, path)); }
int symlinkat(const char *to, int fd, const char *path) {
    ON_PATH(K_symlink, fd, path, REAL(symlinkat)(to, fd, path));
}
int chmod(const char *path, mode_t bits) { ON_PATH(K_chmod, AT_FDCWD, path, REAL(chmod)(path, bits)); }
int fchown(int fd, uid_t user, gid_t group) { ON_FD(K_chown, fd, REAL(fchown)(fd, user, group)); }
int fchmod(int fd, mode_t bits) { ON_FD(K_chmod, fd, REAL(fchmod)(fd, bits)); }
int fchmodat(int fd, const char *path, mode_t bits, int flags) {
    ON_PATH(K_chmod, fd, path, REAL(fchmodat)(fd, path, bits, flags));
}
