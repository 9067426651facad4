/* Fails one read of a store's files: the n-th pread or read after jobq_reads_arm(n), with EIO.
 *
 * The store's folder is JOBQ_READS_ROOT. The victim calls the two functions through ctypes.CDLL(None).
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

#define EXPORT __attribute__((visibility("default")))

static atomic_long seen;
static atomic_long fails; /* this one; 0: none */

EXPORT void jobq_reads_arm(long which)
{
    atomic_store(&seen, 0);
    atomic_store(&fails, which);
}

EXPORT long jobq_reads_seen(void)
{
    return atomic_load(&seen);
}

static int ours(int fd)
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
    return strncmp(path, root, strlen(root)) == 0;
}

static int refuse(int fd)
{
    if (!ours(fd) || atomic_fetch_add(&seen, 1) + 1 != atomic_load(&fails))
        return 0;
    errno = EIO;
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

EXPORT ssize_t read(int fd, void *bytes, size_t length)
{
    return refuse(fd) ? -1 : REAL(read)(fd, bytes, length);
}

EXPORT ssize_t pread(int fd, void *bytes, size_t length, off_t place)
{
    return refuse(fd) ? -1 : REAL(pread)(fd, bytes, length, place);
}

EXPORT ssize_t pread64(int fd, void *bytes, size_t length, off64_t place)
{
    return refuse(fd) ? -1 : REAL(pread64)(fd, bytes, length, place);
}
