/* Preloaded (LD_PRELOAD) into every process of a run: makes one call that changes files below a folder fail.

   FAULT_BELOW  the folder
   FAULT_STATE  a file with one line for each call that has failed, such as "write features/a.safetensors". Each process
                fails at the first call that is not in it, appends its line, and fails no more.
   FAULT_SEED, FAULT_PERCENT  only so many percent of all calls fail, which ones the seed says

   FAULT_SEEN   a file that gets such a line for each call that is made, whether it fails or not
   FAULT_DELAY  every such call first waits for so many milliseconds, which no signal shortens, as on a slow disk

   After fault_again() one more call of this process may fail.
   A process may instead call fault_arm(n): the n-th such call from now on fails, and fault_calls() counts them. After
   fault_always(code) all of them fail with this code; on a full disk (ENOSPC) files can still be removed and renamed.
   A write fails as on a full disk: one half of the bytes is written, the next call gives ENOSPC. */
#define _GNU_SOURCE
#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static long armed = -1, calls = 0;
static int fired = 0, cut_fd = -1, always = 0;

void fault_arm(long n) { armed = n; calls = 0; cut_fd = -1; }
void fault_again(void) { fired = 0; cut_fd = -1; }
void fault_always(int code) { always = code; }
long fault_calls(void) { return calls; }

/* The absolute path of a name relative to a folder's descriptor, or of an open descriptor where name is NULL. */
static int locate(int fd, const char *name, char *path) {
    char link[64];
    if (name && name[0] == '/') return snprintf(path, PATH_MAX, "%s", name);
    if (fd == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
    else snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = syscall(SYS_readlink, link, path, PATH_MAX - 1);
    if (n < 0) return -1;
    path[n] = 0;
    if (name) snprintf(path + n, PATH_MAX - n, "/%s", name);
    return 0;
}

/* Without what differs between two runs: keys, numbers of processes and of units. */
static void describe(const char *what, const char *path, char *line) {
    char *to = line + sprintf(line, "%s ", what);
    while (*path) {
        const char *end = path;
        while (isxdigit((unsigned char)*end)) end++;
        int digits = 1;
        for (const char *c = path; c < end; c++) digits &= isdigit((unsigned char)*c) != 0;
        if (end - path >= 16 || (end > path && digits && end - path >= 3)) { *to++ = '*'; path = end; }
        else if (end > path) while (path < end) *to++ = *path++;
        else *to++ = *path++;
    }
    *to++ = '\n';
    *to = 0;
}

static int first_time(const char *state, const char *line) {
    int fd = syscall(SYS_openat, AT_FDCWD, state, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644), new = 0;
    if (fd < 0) return 0;
    flock(fd, LOCK_EX);
    struct stat about;
    if (!fstat(fd, &about)) {
        char *text = malloc(about.st_size + 2);
        ssize_t n = pread(fd, text + 1, about.st_size, 0);
        text[0] = '\n';
        text[n < 0 ? 1 : n + 1] = 0;
        char *at = text;
        new = 1;
        while ((at = strstr(at, line))) {
            if (at[-1] == '\n') { new = 0; break; }
            at++;
        }
        free(text);
        if (new) syscall(SYS_write, fd, line, strlen(line));
    }
    syscall(SYS_close, fd);
    return new;
}

static void wait_for(long milliseconds) {
    struct timespec left = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    while (nanosleep(&left, &left) && errno == EINTR) continue;
}

/* Whether this call is to fail. */
static int fails(const char *what, int fd, const char *name) {
    const char *below = getenv("FAULT_BELOW"), *state = getenv("FAULT_STATE");
    char path[PATH_MAX], line[PATH_MAX + 64];
    const char *delay = getenv("FAULT_DELAY"), *seen = getenv("FAULT_SEEN");
    if (!below || (!delay && !seen && !state && armed < 0 && !always) || locate(fd, name, path) < 0) return 0;
    size_t n = strlen(below);
    if (strncmp(path, below, n) || (path[n] && path[n] != '/')) return 0;
    if (delay) wait_for(strtol(delay, NULL, 10));
    if (always) return always != ENOSPC || !strcmp(what, "open") || !strcmp(what, "write") || !strcmp(what, "mkdir");
    if (!state && !seen) return !fired && ++calls == armed;
    describe(what, path[n] ? path + n + 1 : ".", line);
    if (seen) first_time(seen, line);
    if (!state || fired) return 0;
    const char *percent = getenv("FAULT_PERCENT"), *seed = getenv("FAULT_SEED");
    unsigned long hash = 1469598103934665603UL ^ (seed ? strtoul(seed, NULL, 10) * 2654435761UL : 0);
    for (const char *c = line; *c; c++) hash = (hash ^ (unsigned char)*c) * 1099511628211UL;
    if (percent && (hash >> 20) % 100 >= strtoul(percent, NULL, 10)) return 0;
    return fired = first_time(state, line);
}

static int fail(int code) { errno = always ? always : code; return -1; }

#define OPEN(name)                                                                                       \
    int name(const char *path, int flags, ...) {                                                         \
        va_list more; va_start(more, flags); mode_t mode = va_arg(more, mode_t); va_end(more);           \
        if ((flags & (O_CREAT | O_WRONLY | O_RDWR)) && fails("open", AT_FDCWD, path)) return fail(ENOSPC); \
        return REAL(name)(path, flags, mode);                                                            \
    }
#define OPENAT(name)                                                                                     \
    int name(int at, const char *path, int flags, ...) {                                                 \
        va_list more; va_start(more, flags); mode_t mode = va_arg(more, mode_t); va_end(more);           \
        if ((flags & (O_CREAT | O_WRONLY | O_RDWR)) && fails("open", at, path)) return fail(ENOSPC);       \
        return REAL(name)(at, path, flags, mode);                                                        \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int fd, const void *bytes, size_t n) {
    if (fd == cut_fd) { cut_fd = -1; return fail(ENOSPC); }
    if (fails("write", fd, NULL)) {
        if (n < 2 || always) return fail(ENOSPC);
        cut_fd = fd;
        n /= 2;
    }
    return REAL(write)(fd, bytes, n);
}
ssize_t writev(int fd, const struct iovec *parts, int n) {
    return fails("write", fd, NULL) ? fail(ENOSPC) : REAL(writev)(fd, parts, n);
}
ssize_t pwrite64(int fd, const void *bytes, size_t n, off64_t at) {
    return fails("write", fd, NULL) ? fail(ENOSPC) : REAL(pwrite64)(fd, bytes, n, at);
}
int ftruncate64(int fd, off64_t n) { return fails("truncate", fd, NULL) ? fail(ENOSPC) : REAL(ftruncate64)(fd, n); }
int fsync(int fd) { return fails("fsync", fd, NULL) ? fail(EIO) : REAL(fsync)(fd); }
int fdatasync(int fd) { return fails("fsync", fd, NULL) ? fail(EIO) : REAL(fdatasync)(fd); }
int rename(const char *from, const char *to) {
    return fails("rename", AT_FDCWD, to) ? fail(EIO) : REAL(rename)(from, to);
}
int renameat(int a, const char *from, int b, const char *to) {
    return fails("rename", b, to) ? fail(EIO) : REAL(renameat)(a, from, b, to);
}
int mkdir(const char *path, mode_t mode) {
    return fails("mkdir", AT_FDCWD, path) ? fail(ENOSPC) : REAL(mkdir)(path, mode);
}
int mkdirat(int at, const char *path, mode_t mode) {
    return fails("mkdir", at, path) ? fail(ENOSPC) : REAL(mkdirat)(at, path, mode);
}
int unlink(const char *path) { return fails("unlink", AT_FDCWD, path) ? fail(EIO) : REAL(unlink)(path); }
int unlinkat(int at, const char *path, int flags) {
    return fails("unlink", at, path) ? fail(EIO) : REAL(unlinkat)(at, path, flags);
}
int rmdir(const char *path) { return fails("rmdir", AT_FDCWD, path) ? fail(EIO) : REAL(rmdir)(path); }
