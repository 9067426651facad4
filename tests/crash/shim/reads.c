/* Fails one read of a store's files: the n-th pread or read after jobq_reads_arm(n, 0), with EIO; after
 * jobq_reads_arm(n, 1) the n-th of those made while something written to sled's file is not synced. With a sync
 * after each batch that is one in the middle of a batch of which sled has written a part out. After jobq_reads_bad(n)
 * the n-th 4 KiB of sled's file cannot be read, as a bad sector cannot.
 *
 * The store's folder is JOBQ_READS_ROOT. The victim calls these functions through ctypes.CDLL(None).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define SECTOR 4096
#define EXPORT __attribute__((visibility("default")))

static atomic_long seen;
static atomic_long fails; /* this one; 0: none */
static atomic_int only_parted;
static atomic_int unsynced;
static atomic_long bad = -1; /* this sector; -1: none */

EXPORT void jobq_reads_arm(long which, int parted)
{
    atomic_store(&seen, 0);
    atomic_store(&only_parted, parted);
    atomic_store(&fails, which);
}

EXPORT long jobq_reads_seen(void)
{
    return atomic_load(&seen);
}

EXPORT void jobq_reads_bad(long sector)
{
    atomic_store(&bad, sector);
}

/* Whether a descriptor is of a file of the store whose path ends so. */
static int ours(int fd, const char *end)
{
    const char *root = getenv("JOBQ_READS_ROOT");
    char link[32], path[PATH_MAX];
    if (root == NULL)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0)
        return 0;
    path[length] = '\0';
    size_t tail = strlen(end);
    return strncmp(path, root, strlen(root)) == 0 && strcmp(path + (size_t)length - tail, end) == 0;
}

static int refuse(int fd)
{
    if ((atomic_load(&only_parted) && !atomic_load(&unsynced)) || !ours(fd, ""))
        return 0;
    if (atomic_fetch_add(&seen, 1) + 1 != atomic_load(&fails))
        return 0;
    errno = EIO;
    return 1;
}

static int refuse_at(int fd, size_t length, off64_t place)
{
    off64_t from = (off64_t)atomic_load(&bad) * SECTOR;
    if (from < 0 || place >= from + SECTOR || place + (off64_t)length <= from || !ours(fd, "/db"))
        return refuse(fd);
    atomic_fetch_add(&seen, 1);
    errno = EIO;
    return 1;
}

static void note(int fd, int dirty)
{
    if (ours(fd, "/db"))
        atomic_store(&unsynced, dirty);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

EXPORT ssize_t read(int fd, void *bytes, size_t length)
{
    return refuse(fd) ? -1 : REAL(read)(fd, bytes, length);
}

EXPORT ssize_t pread(int fd, void *bytes, size_t length, off_t place)
{
    return refuse_at(fd, length, place) ? -1 : REAL(pread)(fd, bytes, length, place);
}

EXPORT ssize_t pread64(int fd, void *bytes, size_t length, off64_t place)
{
    return refuse_at(fd, length, place) ? -1 : REAL(pread64)(fd, bytes, length, place);
}

EXPORT ssize_t pwrite(int fd, const void *bytes, size_t length, off_t place)
{
    ssize_t written = REAL(pwrite)(fd, bytes, length, place);
    note(fd, 1);
    return written;
}

EXPORT ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t place)
{
    ssize_t written = REAL(pwrite64)(fd, bytes, length, place);
    note(fd, 1);
    return written;
}

EXPORT int fdatasync(int fd)
{
    note(fd, 0);
    return REAL(fdatasync)(fd);
}

EXPORT int fsync(int fd)
{
    note(fd, 0);
    return REAL(fsync)(fd);
}
