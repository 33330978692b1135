/*
 * Stands between a program and its disk: built with cc and loaded with LD_PRELOAD by shim.rs.
 *
 * Counts the calls that touch files below a directory, over all threads of the process, and does to
 * the k-th of them (or to all) what the environment says. A call that is let through goes to the
 * kernel as it came. Every counted call is a line of the log: number, call, path, and what was done.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

enum action { PASS, KILL, SKIP, SHORT, SWALLOW, FAIL };

static const char *root, *calls, *lost;
static size_t root_len;
static long target;
static enum action wanted;
static int wanted_errno;
static int log_fd = -1;
static atomic_long counted;

__attribute__((constructor)) static void start(void) {
    const char *todo = getenv("FAULT_DO"), *at = getenv("FAULT_AT"), *log = getenv("FAULT_LOG");
    root = getenv("FAULT_ROOT");
    calls = getenv("FAULT_CALLS");
    lost = getenv("FAULT_LOSE");
    if (!root || !calls || !todo || !at || !log)
        return;
    root_len = strlen(root);
    target = atol(at);
    if (!strcmp(todo, "count"))
        wanted = PASS;
    else if (!strcmp(todo, "kill"))
        wanted = KILL;
    else if (!strcmp(todo, "skip"))
        wanted = SKIP;
    else if (!strcmp(todo, "short"))
        wanted = SHORT;
    else if (!strcmp(todo, "swallow"))
        wanted = SWALLOW;
    else {
        wanted = FAIL;
        wanted_errno = atoi(todo);
    }
    log_fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

/* Whether a comma-separated list has a word. */
static int listed(const char *list, const char *word) {
    size_t len = strlen(word);
    for (const char *at = list; (at = strstr(at, word)); at += len)
        if ((at == list || at[-1] == ',') && (at[len] == ',' || at[len] == 0))
            return 1;
    return 0;
}

static void note(long number, const char *call, const char *path, const char *done) {
    char line[4400];
    int len = snprintf(line, sizeof line, "%ld\t%s\t%s\t%s\n", number, call, path, done);
    if (len > 0 && (size_t)len < sizeof line)
        syscall(SYS_write, log_fd, line, (size_t)len);
}

/* Whether a path is the directory or lies below it. */
static int below(const char *path) {
    return !strncmp(path, root, root_len) && (path[root_len] == '/' || path[root_len] == 0);
}

/* What is to be done to a call on a path. */
static enum action judge(const char *call, const char *path) {
    if (log_fd < 0 || !path || !below(path) || !listed(calls, call))
        return PASS;
    long number = atomic_fetch_add(&counted, 1) + 1;
    int hit = target == 0 || target == number;
    enum action action = hit ? wanted : PASS;
    note(number, call, path, action == PASS ? "passed" : "injected");
    if (action == KILL)
        syscall(SYS_kill, getpid(), SIGKILL);
    return action;
}

/* The path of an open file; 0 if it has none or nobody asks. */
static int path_of(int fd, char *path, size_t room) {
    char link[48];
    if (log_fd < 0 || fd == log_fd)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long len = syscall(SYS_readlinkat, AT_FDCWD, link, path, room - 1);
    if (len <= 0)
        return 0;
    path[len] = 0;
    return 1;
}

static enum action judge_fd(const char *call, int fd) {
    char path[4096];
    if (!path_of(fd, path, sizeof path))
        return PASS;
    return judge(call, path);
}

/* A write: with FAULT_LOSE, those to some files are told to have succeeded whatever else is asked. */
static enum action judge_write(int fd) {
    char path[4096];
    if (!path_of(fd, path, sizeof path))
        return PASS;
    enum action action = judge("write", path);
    int is_lost = lost && below(path) && strstr(path, lost);
    return action == PASS && is_lost ? SKIP : action;
}

static long fail(void) {
    errno = wanted_errno;
    return -1;
}

/* The value of a call that went to the kernel, or that success has in its stead. */
static long told(enum action action, long value, long success) {
    return action == SWALLOW && value < 0 ? success : value;
}

#define PLAIN(judged, success, real)                                                               \
    do {                                                                                           \
        enum action now = (judged);                                                                \
        if (now == FAIL)                                                                           \
            return fail();                                                                         \
        if (now == SKIP)                                                                           \
            return (success);                                                                      \
        return told(now, (real), (success));                                                       \
    } while (0)

static size_t part(enum action act, size_t len) { return act == SHORT && len > 1 ? len / 2 : len; }

ssize_t write(int fd, const void *buf, size_t len) {
    enum action act = judge_write(fd);
    PLAIN(act, (long)len, syscall(SYS_write, fd, buf, part(act, len)));
}

ssize_t pwrite64(int fd, const void *buf, size_t len, off64_t at) {
    enum action act = judge_write(fd);
    PLAIN(act, (long)len, syscall(SYS_pwrite64, fd, buf, part(act, len), at));
}

ssize_t pwrite(int fd, const void *buf, size_t len, off_t at) { return pwrite64(fd, buf, len, at); }

ssize_t read(int fd, void *buf, size_t len) {
    enum action act = judge_fd("read", fd);
    PLAIN(act, 0, syscall(SYS_read, fd, buf, part(act, len)));
}

ssize_t pread64(int fd, void *buf, size_t len, off64_t at) {
    enum action act = judge_fd("read", fd);
    PLAIN(act, 0, syscall(SYS_pread64, fd, buf, part(act, len), at));
}

ssize_t pread(int fd, void *buf, size_t len, off_t at) { return pread64(fd, buf, len, at); }

int fsync(int fd) { PLAIN(judge_fd("sync", fd), 0, syscall(SYS_fsync, fd)); }

int fdatasync(int fd) { PLAIN(judge_fd("sync", fd), 0, syscall(SYS_fdatasync, fd)); }

int sync_file_range(int fd, off64_t from, off64_t len, unsigned flags) {
    PLAIN(judge_fd("sync", fd), 0, syscall(SYS_sync_file_range, fd, from, len, flags));
}

int ftruncate64(int fd, off64_t len) {
    PLAIN(judge_fd("truncate", fd), 0, syscall(SYS_ftruncate, fd, len));
}

int ftruncate(int fd, off_t len) { return ftruncate64(fd, len); }

int fchmod(int fd, mode_t mode) { PLAIN(judge_fd("mode", fd), 0, syscall(SYS_fchmod, fd, mode)); }

int chmod(const char *path, mode_t mode) {
    PLAIN(judge("mode", path), 0, syscall(SYS_fchmodat, AT_FDCWD, path, mode));
}

int flock(int fd, int how) { PLAIN(judge_fd("lock", fd), 0, syscall(SYS_flock, fd, how)); }

int rename(const char *from, const char *to) {
    PLAIN(judge("rename", from), 0, syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}

int link(const char *from, const char *to) {
    PLAIN(judge("link", to), 0, syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0));
}

int linkat(int dir, const char *from, int to_dir, const char *to, int flags) {
    PLAIN(judge("link", to), 0, syscall(SYS_linkat, dir, from, to_dir, to, flags));
}

int unlink(const char *path) {
    PLAIN(judge("remove", path), 0, syscall(SYS_unlinkat, AT_FDCWD, path, 0));
}

int rmdir(const char *path) {
    PLAIN(judge("remove", path), 0, syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR));
}

/* What lies in a directory that is open goes by that directory's path. */
int unlinkat(int dir, const char *path, int flags) {
    enum action act = path[0] == '/' ? judge("remove", path) : judge_fd("remove", dir);
    PLAIN(act, 0, syscall(SYS_unlinkat, dir, path, flags));
}

int mkdir(const char *path, mode_t mode) {
    PLAIN(judge("mkdir", path), 0, syscall(SYS_mkdirat, AT_FDCWD, path, mode));
}

#define OPENS(name, signature, dir, path)                                                          \
    int name signature {                                                                           \
        mode_t mode = 0;                                                                           \
        if (flags & (O_CREAT | O_TMPFILE)) {                                                       \
            va_list more;                                                                          \
            va_start(more, flags);                                                                 \
            mode = va_arg(more, mode_t);                                                           \
            va_end(more);                                                                          \
        }                                                                                          \
        if (judge("open", path) == FAIL)                                                           \
            return fail();                                                                         \
        return syscall(SYS_openat, dir, path, flags, mode);                                        \
    }

OPENS(open, (const char *path, int flags, ...), AT_FDCWD, path)
OPENS(open64, (const char *path, int flags, ...), AT_FDCWD, path)
OPENS(openat, (int dir, const char *path, int flags, ...), dir, path)
OPENS(openat64, (int dir, const char *path, int flags, ...), dir, path)
