/* Records, in one order, what a process does to the files under one folder: the stream that replay.py reads.
 *
 * LD_PRELOAD it with
 *   JOBQ_RECORD_ROOT    the folder, absolute and without symbolic links;
 *   JOBQ_RECORD_NOTES   a file outside of it: what is written there becomes a note in the stream;
 *   JOBQ_RECORD_STREAM  the file the stream is appended to, outside of the folder too.
 *
 * One lock is held over each call and its record, so the stream's order is the order in which things happened. A
 * sync is recorded twice, before and after, and runs unlocked: what is written meanwhile is not covered by it.
 * A descriptor is looked up anew at each call (/proc/self/fd and fstat), so that dup, fcntl and close need no
 * bookkeeping. What the model does not know (links, O_TMPFILE) is recorded as such and refused by the replayer;
 * that nothing else went past us is proven there too: the stream, replayed whole, must give the tree that is there.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define ROOM (2 * PATH_MAX)

enum kind {
    OPENED = 'O',
    CREATED = 'C',
    MADE_FOLDER = 'D',
    WROTE = 'W',
    RESIZED = 'T',
    RENAMED = 'R',
    UNLINKED = 'U',
    REMOVED_FOLDER = 'X',
    SYNC_BEGAN = 'B',
    SYNC_ENDED = 'E',
    RANGE_SYNCED = 'S',
    NOTE = 'N',
    UNKNOWN = '?'
};

/* What stands before each record's path, second path and data. */
struct head {
    uint8_t kind;
    uint8_t failed;
    uint16_t path;
    uint16_t second;
    uint16_t zero;
    uint32_t data;
    uint32_t serial; /* pairs the end of a sync with its beginning */
    uint64_t inode;
    int64_t place; /* offset of a write, new size of a file */
    int64_t time;  /* monotonic nanoseconds */
};

static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH_MAX];
static size_t root_length;
static char notes[PATH_MAX];
static int stream = -1;
static uint32_t serial;

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (found == NULL)
        abort();
    return found;
}

static void give_up(const char *why)
{
    static const char us[] = "record.c: ";
    if (syscall(SYS_write, 2, us, sizeof us - 1) >= 0 && syscall(SYS_write, 2, why, strlen(why)) >= 0)
        syscall(SYS_write, 2, "\n", 1);
    abort();
}

__attribute__((constructor)) static void start(void)
{
    const char *folder = getenv("JOBQ_RECORD_ROOT"), *file = getenv("JOBQ_RECORD_STREAM");
    const char *note = getenv("JOBQ_RECORD_NOTES");
    if (folder == NULL || file == NULL)
        return;
    if (strlen(folder) >= sizeof root || (note != NULL && strlen(note) >= sizeof notes))
        give_up("a path is too long");
    strcpy(root, folder);
    strcpy(notes, note == NULL ? "" : note);
    root_length = strlen(root);
    stream = (int)syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (stream < 0)
        give_up("the stream cannot be opened");
}

static int inside(const char *path)
{
    return stream >= 0 && strncmp(path, root, root_length) == 0
        && (path[root_length] == '/' || path[root_length] == '\0');
}

/* The path a descriptor was opened by, or by which it is known since a rename; 0 where it has none. */
static int path_of(int fd, char *path)
{
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, (size_t)PATH_MAX - 1);
    if (length <= 0 || path[0] != '/')
        return 0;
    path[length] = '\0';
    static const char gone[] = " (deleted)";
    size_t tail = sizeof gone - 1;
    if ((size_t)length > tail && strcmp(path + length - tail, gone) == 0)
        path[length - tail] = '\0';
    return 1;
}

/* Absolute, without ".", ".." and doubled slashes. */
static int absolute(int folder, const char *given, char *path)
{
    char whole[ROOM];
    if (given == NULL)
        return 0;
    whole[0] = '\0';
    if (given[0] != '/') {
        if (folder == AT_FDCWD ? syscall(SYS_getcwd, whole, (size_t)PATH_MAX) < 0 : !path_of(folder, whole))
            return 0;
    }
    if (strlen(whole) + strlen(given) + 2 > sizeof whole)
        return 0;
    strcat(whole, "/");
    strcat(whole, given);
    size_t end = 0;
    for (char *rest = NULL, *part = strtok_r(whole, "/", &rest); part; part = strtok_r(NULL, "/", &rest)) {
        if (strcmp(part, ".") == 0)
            continue;
        if (strcmp(part, "..") == 0) {
            while (end > 0 && path[--end] != '/')
                ;
            continue;
        }
        if (end + strlen(part) + 2 > PATH_MAX)
            return 0;
        path[end++] = '/';
        strcpy(path + end, part);
        end += strlen(part);
    }
    path[end] = '\0';
    return 1;
}

static const char *relative(const char *path)
{
    const char *rest = path + root_length;
    return *rest == '/' ? rest + 1 : rest;
}

static void put(struct head *head, const char *path, const char *second, const struct iovec *data, int parts)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    head->time = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    head->path = (uint16_t)strlen(path);
    head->second = (uint16_t)strlen(second);
    size_t length = sizeof *head + head->path + head->second + head->data;
    char *record = malloc(length), *end = record;
    if (record == NULL)
        give_up("no memory");
    end = mempcpy(end, head, sizeof *head);
    end = mempcpy(end, path, head->path);
    end = mempcpy(end, second, head->second);
    size_t left = head->data;
    for (int i = 0; i < parts && left > 0; i++) {
        size_t take = data[i].iov_len < left ? data[i].iov_len : left;
        end = mempcpy(end, data[i].iov_base, take);
        left -= take;
    }
    for (size_t at = 0; at < length;) {
        ssize_t wrote = syscall(SYS_write, stream, record + at, length - at);
        if (wrote <= 0)
            give_up("the stream cannot be written");
        at += (size_t)wrote;
    }
    free(record);
}

static void put_path(enum kind kind, const char *path, uint64_t inode)
{
    struct head head = {.kind = (uint8_t)kind, .inode = inode};
    put(&head, relative(path), "", NULL, 0);
}

static void lock(void)
{
    pthread_mutex_lock(&order);
}

static void unlock(void)
{
    int kept = errno;
    pthread_mutex_unlock(&order);
    errno = kept;
}

/* Opening ---------------------------------------------------------------------------------------------------- */

typedef int (*open_call)(int, const char *, int, mode_t);

static int plain_openat(int folder, const char *path, int flags, mode_t mode)
{
    return REAL(openat)(folder, path, flags, mode);
}

static int open_in(int folder, const char *given, int flags, mode_t mode)
{
    char path[PATH_MAX];
    if (stream < 0 || !absolute(folder, given, path) || !inside(path))
        return plain_openat(folder, given, flags, mode);
    struct stat before, after;
    lock();
    int was_there = stat(path, &before) == 0;
    int fd = plain_openat(folder, given, flags, mode);
    if (fd >= 0) {
        int kept = errno;
        if ((flags & O_TMPFILE) == O_TMPFILE)
            put_path(UNKNOWN, path, 0);
        if (fstat(fd, &after) == 0)
            put_path(was_there ? OPENED : CREATED, path, after.st_ino);
        if (was_there && (flags & O_TRUNC) && S_ISREG(after.st_mode)) {
            struct head head = {.kind = RESIZED, .inode = after.st_ino};
            put(&head, relative(path), "", NULL, 0);
        }
        errno = kept;
    }
    unlock();
    return fd;
}

#define MODE_OF(flags)                                  \
    mode_t mode = 0;                                    \
    if (((flags)&O_CREAT) || ((flags)&O_TMPFILE) == O_TMPFILE) { \
        va_list more;                                   \
        va_start(more, flags);                          \
        mode = va_arg(more, mode_t);                    \
        va_end(more);                                   \
    }

EXPORT int open(const char *path, int flags, ...)
{
    MODE_OF(flags)
    return open_in(AT_FDCWD, path, flags, mode);
}

EXPORT int open64(const char *path, int flags, ...)
{
    MODE_OF(flags)
    return open_in(AT_FDCWD, path, flags, mode);
}

EXPORT int openat(int folder, const char *path, int flags, ...)
{
    MODE_OF(flags)
    return open_in(folder, path, flags, mode);
}

EXPORT int openat64(int folder, const char *path, int flags, ...)
{
    MODE_OF(flags)
    return open_in(folder, path, flags, mode);
}

EXPORT int creat(const char *path, mode_t mode)
{
    return open_in(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

EXPORT int creat64(const char *path, mode_t mode)
{
    return open_in(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

/* Writing ---------------------------------------------------------------------------------------------------- */

/* What a descriptor is to us. */
enum target { NOT_OURS, STORE, NOTES };

static enum target target_of(int fd, char *path)
{
    if (stream < 0 || fd == stream || !path_of(fd, path))
        return NOT_OURS;
    if (inside(path))
        return STORE;
    return notes[0] != '\0' && strcmp(path, notes) == 0 ? NOTES : NOT_OURS;
}

#define AT_END ((off64_t)-1)

/* Called locked, after the write: at AT_END the descriptor's own position says where it went. */
static void put_write(enum target target, const char *path, int fd, const struct iovec *data, int parts,
                      ssize_t wrote, off64_t place)
{
    struct stat file;
    struct head head = {.kind = target == NOTES ? NOTE : WROTE, .data = (uint32_t)wrote};
    if (wrote <= 0)
        return;
    int kept = errno;
    if (target == NOTES) {
        put(&head, "", "", data, parts);
    } else if (fstat(fd, &file) == 0) {
        int flags = fcntl(fd, F_GETFL);
        head.inode = file.st_ino;
        if (flags & O_APPEND)
            head.place = file.st_size - wrote;
        else
            head.place = place == AT_END ? lseek64(fd, 0, SEEK_CUR) - wrote : place;
        put(&head, relative(path), "", data, parts);
    }
    errno = kept;
}

#define WRITING(fd, data, parts, place, call)                       \
    char path[PATH_MAX];                                            \
    enum target target = target_of(fd, path);                       \
    if (target == NOT_OURS)                                         \
        return call;                                                \
    lock();                                                         \
    ssize_t wrote = call;                                           \
    put_write(target, path, fd, data, parts, wrote, place);         \
    unlock();                                                       \
    return wrote;

EXPORT ssize_t write(int fd, const void *bytes, size_t length)
{
    struct iovec data = {.iov_base = (void *)bytes, .iov_len = length};
    WRITING(fd, &data, 1, AT_END, REAL(write)(fd, bytes, length))
}

EXPORT ssize_t writev(int fd, const struct iovec *data, int parts)
{
    WRITING(fd, data, parts, AT_END, REAL(writev)(fd, data, parts))
}

EXPORT ssize_t pwrite(int fd, const void *bytes, size_t length, off_t place)
{
    struct iovec data = {.iov_base = (void *)bytes, .iov_len = length};
    WRITING(fd, &data, 1, place, REAL(pwrite)(fd, bytes, length, place))
}

EXPORT ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t place)
{
    struct iovec data = {.iov_base = (void *)bytes, .iov_len = length};
    WRITING(fd, &data, 1, place, REAL(pwrite64)(fd, bytes, length, place))
}

EXPORT ssize_t pwritev(int fd, const struct iovec *data, int parts, off_t place)
{
    WRITING(fd, data, parts, place, REAL(pwritev)(fd, data, parts, place))
}

EXPORT ssize_t pwritev64(int fd, const struct iovec *data, int parts, off64_t place)
{
    WRITING(fd, data, parts, place, REAL(pwritev64)(fd, data, parts, place))
}

/* Its place may be -1, the descriptor's own; RWF_APPEND, which nobody here uses, would need more. */
EXPORT ssize_t pwritev2(int fd, const struct iovec *data, int parts, off_t place, int flags)
{
    WRITING(fd, data, parts, place, REAL(pwritev2)(fd, data, parts, place, flags))
}

EXPORT ssize_t pwritev64v2(int fd, const struct iovec *data, int parts, off64_t place, int flags)
{
    WRITING(fd, data, parts, place, REAL(pwritev64v2)(fd, data, parts, place, flags))
}

/* Copies inside the kernel are refused for our files, as by a kernel that lacks them: callers fall back to write. */
EXPORT ssize_t copy_file_range(int from, off64_t *from_place, int to, off64_t *to_place, size_t length, unsigned flags)
{
    char path[PATH_MAX];
    if (target_of(to, path) == NOT_OURS)
        return REAL(copy_file_range)(from, from_place, to, to_place, length, flags);
    errno = ENOSYS;
    return -1;
}

EXPORT ssize_t sendfile64(int to, int from, off64_t *place, size_t length)
{
    ssize_t (*call)(int, int, off64_t *, size_t) = (ssize_t(*)(int, int, off64_t *, size_t))real("sendfile64");
    char path[PATH_MAX];
    if (target_of(to, path) == NOT_OURS)
        return call(to, from, place, length);
    errno = EINVAL;
    return -1;
}

EXPORT ssize_t sendfile(int to, int from, off_t *place, size_t length)
{
    return sendfile64(to, from, place, length);
}

/* Sizes ------------------------------------------------------------------------------------------------------ */

static int resize(int fd, off64_t size)
{
    char path[PATH_MAX];
    struct stat file;
    if (target_of(fd, path) != STORE)
        return REAL(ftruncate64)(fd, size);
    lock();
    int result = REAL(ftruncate64)(fd, size);
    if (result == 0 && fstat(fd, &file) == 0) {
        struct head head = {.kind = RESIZED, .inode = file.st_ino, .place = size};
        put(&head, relative(path), "", NULL, 0);
    }
    unlock();
    return result;
}

EXPORT int ftruncate(int fd, off_t size)
{
    return resize(fd, size);
}

EXPORT int ftruncate64(int fd, off64_t size)
{
    return resize(fd, size);
}

static int resize_path(const char *given, off64_t size)
{
    int fd = open_in(AT_FDCWD, given, O_WRONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    int result = resize(fd, size), kept = errno;
    close(fd);
    errno = kept;
    return result;
}

EXPORT int truncate(const char *path, off_t size)
{
    return resize_path(path, size);
}

EXPORT int truncate64(const char *path, off64_t size)
{
    return resize_path(path, size);
}

/* Reserving space changes nothing that survives but the size; refused, callers do without. */
static int no_space_reserved(int fd)
{
    char path[PATH_MAX];
    return target_of(fd, path) == STORE;
}

EXPORT int fallocate64(int fd, int mode, off64_t place, off64_t length)
{
    if (!no_space_reserved(fd))
        return REAL(fallocate64)(fd, mode, place, length);
    errno = EOPNOTSUPP;
    return -1;
}

EXPORT int fallocate(int fd, int mode, off_t place, off_t length)
{
    return fallocate64(fd, mode, place, length);
}

EXPORT int posix_fallocate64(int fd, off64_t place, off64_t length)
{
    return no_space_reserved(fd) ? EOPNOTSUPP : REAL(posix_fallocate64)(fd, place, length);
}

EXPORT int posix_fallocate(int fd, off_t place, off_t length)
{
    return posix_fallocate64(fd, place, length);
}

/* Syncing ---------------------------------------------------------------------------------------------------- */

static int sync_file(int fd, int (*call)(int))
{
    char path[PATH_MAX];
    struct stat file;
    if (target_of(fd, path) != STORE || fstat(fd, &file) != 0)
        return call(fd);
    lock();
    struct head head = {.kind = SYNC_BEGAN, .inode = file.st_ino, .serial = ++serial};
    put(&head, relative(path), "", NULL, 0);
    unlock();
    int result = call(fd);
    lock();
    int kept = errno;
    head.kind = SYNC_ENDED;
    head.failed = result != 0;
    put(&head, relative(path), "", NULL, 0);
    errno = kept;
    unlock();
    return result;
}

EXPORT int fsync(int fd)
{
    return sync_file(fd, REAL(fsync));
}

EXPORT int fdatasync(int fd)
{
    return sync_file(fd, REAL(fdatasync));
}

EXPORT int sync_file_range(int fd, off64_t place, off64_t length, unsigned flags)
{
    char path[PATH_MAX];
    if (target_of(fd, path) == STORE) {
        lock();
        put_path(RANGE_SYNCED, path, 0); /* no barrier: it reaches no drive's cache */
        unlock();
    }
    return REAL(sync_file_range)(fd, place, length, flags);
}

EXPORT int syncfs(int fd)
{
    char path[PATH_MAX];
    if (target_of(fd, path) == STORE) {
        lock();
        put_path(UNKNOWN, path, 0);
        unlock();
    }
    return REAL(syncfs)(fd);
}

/* Names ------------------------------------------------------------------------------------------------------ */

#define NAMING(folder, given, kind, call)                           \
    char path[PATH_MAX];                                            \
    if (stream < 0 || !absolute(folder, given, path) || !inside(path)) \
        return call;                                                \
    lock();                                                         \
    int result = call;                                              \
    if (result == 0) {                                              \
        struct stat made = {0};                                     \
        stat(path, &made);                                          \
        put_path(kind, path, made.st_ino);                          \
    }                                                               \
    unlock();                                                       \
    return result;

EXPORT int unlink(const char *given)
{
    NAMING(AT_FDCWD, given, UNLINKED, REAL(unlink)(given))
}

EXPORT int rmdir(const char *given)
{
    NAMING(AT_FDCWD, given, REMOVED_FOLDER, REAL(rmdir)(given))
}

EXPORT int unlinkat(int folder, const char *given, int flags)
{
    enum kind kind = (flags & AT_REMOVEDIR) ? REMOVED_FOLDER : UNLINKED;
    NAMING(folder, given, kind, REAL(unlinkat)(folder, given, flags))
}

EXPORT int remove(const char *given)
{
    struct stat what;
    return lstat(given, &what) == 0 && S_ISDIR(what.st_mode) ? rmdir(given) : unlink(given);
}

EXPORT int mkdir(const char *given, mode_t mode)
{
    NAMING(AT_FDCWD, given, MADE_FOLDER, REAL(mkdir)(given, mode))
}

EXPORT int mkdirat(int folder, const char *given, mode_t mode)
{
    NAMING(folder, given, MADE_FOLDER, REAL(mkdirat)(folder, given, mode))
}

EXPORT int symlink(const char *target, const char *given)
{
    NAMING(AT_FDCWD, given, UNKNOWN, REAL(symlink)(target, given))
}

EXPORT int symlinkat(const char *target, int folder, const char *given)
{
    NAMING(folder, given, UNKNOWN, REAL(symlinkat)(target, folder, given))
}

EXPORT int link(const char *from, const char *given)
{
    NAMING(AT_FDCWD, given, UNKNOWN, REAL(link)(from, given))
}

EXPORT int linkat(int from_folder, const char *from, int folder, const char *given, int flags)
{
    NAMING(folder, given, UNKNOWN, REAL(linkat)(from_folder, from, folder, given, flags))
}

static int rename_in(int from_folder, const char *from, int to_folder, const char *to, unsigned flags)
{
    char old[PATH_MAX], new[PATH_MAX];
    int ours = stream >= 0 && absolute(from_folder, from, old) && absolute(to_folder, to, new)
        && (inside(old) || inside(new));
    if (!ours)
        return REAL(renameat2)(from_folder, from, to_folder, to, flags);
    lock();
    int result = REAL(renameat2)(from_folder, from, to_folder, to, flags);
    if (result == 0) {
        struct head head = {.kind = RENAMED};
        if (inside(old) && inside(new) && !(flags & RENAME_EXCHANGE))
            put(&head, relative(old), relative(new), NULL, 0);
        else
            put_path(UNKNOWN, inside(old) ? old : new, 0); /* into or out of the folder: not in the model */
    }
    unlock();
    return result;
}

EXPORT int rename(const char *from, const char *to)
{
    return rename_in(AT_FDCWD, from, AT_FDCWD, to, 0);
}

EXPORT int renameat(int from_folder, const char *from, int to_folder, const char *to)
{
    return rename_in(from_folder, from, to_folder, to, 0);
}

EXPORT int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags)
{
    return rename_in(from_folder, from, to_folder, to, flags);
}

/* Ending ----------------------------------------------------------------------------------------------------- */

/* Locked, so that no other thread is cut off between a call and its record. */
EXPORT void _exit(int status)
{
    lock();
    syscall(SYS_exit_group, status);
    __builtin_unreachable();
}

EXPORT void _Exit(int status)
{
    _exit(status);
}
