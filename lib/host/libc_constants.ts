/**
 * Numbers of the C library and of the kernel, by the names that their headers have; equal on x86-64 and aarch64. A test
 * compares them with the headers.
 */
export const LIBC = {
  O_RDONLY: 0,
  O_WRONLY: 1,
  O_NONBLOCK: 0o4000,
  O_CLOEXEC: 0o2000000,
  CLONE_NEWNET: 0x40000000,
  NS_GET_NSTYPE: 0xb703,
  MS_BIND: 0x1000,
  MS_REC: 0x4000,
  MS_SHARED: 0x100000,
  MNT_DETACH: 2,
  UMOUNT_NOFOLLOW: 8,
  AF_INET: 2,
  AF_INET6: 10,
  AF_NETLINK: 16,
  SOCK_RAW: 3,
  SOCK_CLOEXEC: 0o2000000,
  MSG_TRUNC: 0x20,
  MSG_DONTWAIT: 0x40,
  SOL_NETLINK: 270,
  IFF_UP: 0x1,
  IFF_PROMISC: 0x100,
  IFNAMSIZ: 16,
} as const;
