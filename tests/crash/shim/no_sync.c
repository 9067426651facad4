/* Planted: fsync, fdatasync and their kin claim success and do nothing. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <unistd.h>

int fsync(int fd)
{
    (void)fd;
    return 0;
}

int fdatasync(int fd)
{
    (void)fd;
    return 0;
}

int sync_file_range(int fd, off64_t place, off64_t length, unsigned flags)
{
    (void)fd, (void)place, (void)length, (void)flags;
    return 0;
}
