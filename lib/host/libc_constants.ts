/**
 * Numbers of the C library and of the kernel, by the names that their headers have; equal on x86-64 and aarch64. A test
 * compares them with the headers.
 */
export const LIBC = {
  O_RDONLY: 0,
  O_WRONLY: 1,
  O_NOCTTY: 0o400,
  O_NONBLOCK: 0o4000,
  O_CLOEXEC: 0o2000000,
  F_GETFD: 1,
  FD_CLOEXEC: 1,
  AT_FDCWD: -100,
  AT_SYMLINK_NOFOLLOW: 0x100,
  AT_EMPTY_PATH: 0x1000,
  STATX_BASIC_STATS: 0x7ff,
  CLONE_NEWNET: 0x40000000,
  NS_GET_NSTYPE: 0xb703,
  MS_BIND: 0x1000,
  MS_REC: 0x4000,
  MS_SHARED: 0x100000,
  MNT_DETACH: 2,
  UMOUNT_NOFOLLOW: 8,
  AF_INET: 2,
  AF_BRIDGE: 7,
  AF_INET6: 10,
  AF_NETLINK: 16,
  SOCK_RAW: 3,
  SOCK_CLOEXEC: 0o2000000,
  MSG_TRUNC: 0x20,
  MSG_DONTWAIT: 0x40,
  SOL_SOCKET: 1,
  SO_SNDBUFFORCE: 32,
  SOL_NETLINK: 270,
  IFF_UP: 0x1,
  IFF_PROMISC: 0x100,
  IFF_ALLMULTI: 0x200,
  IFNAMSIZ: 16,
  BTRFS_SUPER_MAGIC: 0x9123683e,
  EROFS_SUPER_MAGIC_V1: 0xe0f5e1e2,
  EXT4_SUPER_MAGIC: 0xef53,
  F2FS_SUPER_MAGIC: 0xf2f52010,
  OVERLAYFS_SUPER_MAGIC: 0x794c7630,
  RAMFS_MAGIC: 0x858458f6,
  SQUASHFS_MAGIC: 0x73717368,
  TMPFS_MAGIC: 0x01021994,
  XFS_SUPER_MAGIC: 0x58465342,
} as const;

/** Where members begin in structures of the kernel, in bytes. */
export const LIBC_OFFSETS = {
  statx: {
    stx_uid: 20,
    stx_mode: 28,
    stx_ino: 32,
    stx_size: 40,
    stx_ctime: 96,
    stx_mtime: 112,
    stx_dev_major: 136,
    stx_dev_minor: 140,
  },
  statx_timestamp: { tv_sec: 0, tv_nsec: 8 },
  statfs: { f_type: 0 },
} as const;

/** How many bytes structures of the kernel have. */
export const LIBC_SIZES = { statx: 256, statfs: 120 } as const;
