import type { JsonObject } from "../cni/json.ts";

/**
 * System calls of an infra container: those that catatonit needs to start and to wait, and those that the runtimes still make
 * after they load the profile and before they start it (runc is a Go program, whose threads run until then). This is far less
 * than the default profiles of containerd and CRI-O allow their pause containers. Runtimes ignore the names that an
 * architecture does not have.
 */
const ALLOWED = [
  // Start and end of a program.
  [
    "execve",
    "execveat",
    "exit",
    "exit_group",
    "arch_prctl",
    "set_tid_address",
    "set_robust_list",
    "rseq",
    "uname",
  ],
  [
    "set_tls",
    "cacheflush",
    "breakpoint",
    "set_thread_area",
    "get_thread_area",
    "prlimit64",
    "getrlimit",
    "ugetrlimit",
  ],
  ["getrandom", "readlink", "readlinkat", "getcwd", "prctl", "riscv_flush_icache"],
  // Memory.
  ["brk", "mmap", "mmap2", "munmap", "mremap", "mprotect", "madvise", "membarrier"],
  // Open files, and files of its own root.
  [
    "read",
    "pread64",
    "readv",
    "write",
    "writev",
    "close",
    "close_range",
    "fcntl",
    "fcntl64",
    "lseek",
    "_llseek",
  ],
  [
    "open",
    "openat",
    "openat2",
    "access",
    "faccessat",
    "faccessat2",
    "stat",
    "stat64",
    "fstat",
    "fstat64",
    "fstatat64",
  ],
  [
    "newfstatat",
    "statx",
    "statfs",
    "statfs64",
    "fstatfs",
    "fstatfs64",
    "getdents64",
    "dup",
    "dup2",
    "dup3",
    "pipe",
    "pipe2",
    "ioctl",
  ],
  // Signals, children and time.
  [
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sigreturn",
    "rt_sigpending",
    "rt_sigsuspend",
    "sigaltstack",
  ],
  ["rt_sigtimedwait", "rt_sigtimedwait_time64", "signalfd", "signalfd4", "pause", "restart_syscall"],
  ["kill", "tkill", "tgkill", "wait4", "waitid", "waitpid"],
  ["futex", "futex_time64", "nanosleep", "clock_nanosleep", "clock_nanosleep_time64", "sched_yield"],
  ["clock_gettime", "clock_gettime64", "clock_getres", "gettimeofday", "sched_getaffinity"],
  ["epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", "eventfd2", "poll", "ppoll"],
  [
    "ppoll_time64",
    "getpid",
    "getppid",
    "gettid",
    "getuid",
    "getuid32",
    "geteuid",
    "geteuid32",
    "getgid",
    "getgid32",
  ],
  ["getegid", "getegid32", "getpgrp", "getpgid", "setpgid", "getsid", "setsid"],
].flat();

/** All flags of `clone` that create a namespace. */
const NEW_NAMESPACES = 0x7e020000;
const ENOSYS = 38;

/**
 * The seccomp profile of an infra container.
 *
 * Source: OCI runtime specification 1.0.2, "Linux seccomp".
 */
export const INFRA_SECCOMP: JsonObject = {
  defaultAction: "SCMP_ACT_ERRNO",
  syscalls: [
    { names: ALLOWED, action: "SCMP_ACT_ALLOW" },
    {
      names: ["clone"],
      action: "SCMP_ACT_ALLOW",
      args: [{ index: 0, value: NEW_NAMESPACES, valueTwo: 0, op: "SCMP_CMP_MASKED_EQ" }],
    },
    // Its flags are in memory, where no profile can check them. Programs then fall back to clone.
    { names: ["clone3"], action: "SCMP_ACT_ERRNO", errnoRet: ENOSYS },
  ],
};
